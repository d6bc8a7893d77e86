"""A chat: the person writes, a chatbot answers."""

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.chat import MAX_MESSAGE_LENGTH, ChatbotConfig, ReplyNotFound
from understudy.domain.errors import ValidationError
from understudy.domain.simulation import Action, Element, Json, Observation
from understudy.environments import EnvironmentUnreachable
from understudy.environments.chatbot_client import ChatbotClient
from understudy.environments.page import clean
from understudy.environments.transport import Resolver, resolve
from understudy.plugins.secrets import Secrets

#: Characters of a reply; what is beyond is cut off.
MAX_REPLY_LENGTH = 8_000
#: What is kept to be told again to a bot that is told everything, the latest: messages and characters.
KEPT_MESSAGES = 200
KEPT_CHARS = 60_000
#: What a person has in view, and all that is kept for a bot that remembers by itself.
VIEW_CHARS = 8_000

_SPEAKERS = {"user": "You", "assistant": "Bot"}


class ChatEnvironment:
    """One person's conversation. See `shared/understudy/domain/chat.py` for what `content` says.

    A bot that is told a conversation id goes on by that when a run is taken up again; one that is told the
    history gets it again. Whoever extends a participant twice has two people talk under one id.
    """

    takes_secrets = True
    takes_access = True

    def __init__(
        self,
        content: Json,
        *,
        allow_private_hosts: bool,
        secrets: Secrets | None = None,
        access: AccessibilityNeeds | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        # A bad one is refused when it is made; what got past that is told as any place that cannot be opened.
        self._content = content
        self._secrets = secrets or Secrets()
        # On a small or enlarged screen the end of the conversation is in view.
        self._view_chars = (access or AccessibilityNeeds()).window or VIEW_CHARS
        self._allow_private_hosts = allow_private_hosts
        self._resolver = resolver
        self._bot: ChatbotConfig | None = None
        self._line: ChatbotClient | None = None
        self._conversation_id: str | int | None = None
        #: The latest of what was said, oldest first: role and content.
        self._said: tuple[dict[str, str], ...] = ()
        self._news = ""
        self._problem = ""
        self._status: int | None = None

    async def open(self) -> None:
        """Begin a conversation; the bot learns of it with the first message."""
        self._connect()
        assert self._bot is not None
        if not self._bot.conversation_path:
            self._conversation_id = str(uuid4())

    async def restore(self, snapshot: Json) -> None:
        """Back in the conversation of `snapshot`. Sends nothing."""
        self._connect()
        self._conversation_id = snapshot["conversation_id"]
        self._said = tuple(dict(said) for said in snapshot["said"])
        self._news = snapshot["news"]
        self._problem = snapshot["problem"]
        self._status = snapshot["status"]

    def observe(self) -> Observation:
        place = urlsplit(str(self._content.get("url", "")))
        return Observation(
            url=place._replace(query="", fragment="").geturl(),
            title=f"Chat with {place.hostname}",
            text=self._view(),
            elements=(Element(1, "textarea", "Your message"),),
            status=self._status,
            problem=self._problem,
            actions=("say",),
            news=self._news,
        )

    async def act(self, action: Action) -> None:
        """`say` its value. Raises EnvironmentUnreachable when the bot does not reply as described."""
        self._problem = ""
        match action.kind:
            case "say":
                message = clean(action.value).strip() if isinstance(action.value, str) else ""
                if 0 < len(message) <= MAX_MESSAGE_LENGTH:
                    await self._say(message)
                    return
                self._problem = f"A message has 1 to {MAX_MESSAGE_LENGTH:,} characters; nothing was sent."
            case "wait" | "finish" | "give_up":
                pass
            case _:
                self._problem = clean(f'Nobody knows how to "{action.kind[:50]}" here.')
        self._news = ""

    def snapshot(self) -> Json:
        """The conversation's id, and what was said in it as far as it may be needed."""
        return {
            "conversation_id": self._conversation_id,
            "said": [dict(said) for said in self._said],
            "news": self._news,
            "problem": self._problem,
            "status": self._status,
        }

    async def close(self) -> None:
        if self._line is not None:
            await self._line.close()

    def _connect(self) -> None:
        try:
            bot = ChatbotConfig.of(self._content)
        except (ValidationError, KeyError) as error:
            raise EnvironmentUnreachable(f"The iteration describes no chatbot: {error}") from error
        self._bot = bot
        self._line = ChatbotClient(
            bot, self._secrets, allow_private_hosts=self._allow_private_hosts, resolver=self._resolver
        )
        self._line.check()

    async def _say(self, message: str) -> None:
        assert self._bot is not None
        assert self._line is not None
        body: Any = self._bot.request(message, self._conversation_id, self._said)
        answer, status = await self._line.ask(body)
        conversation_id = self._conversation_id
        try:
            said = self._bot.reply(answer)
            if self._bot.conversation_path:
                conversation_id = self._bot.conversation(answer)
        except ReplyNotFound as problem:
            told = self._secrets.redacted(str(problem))
            raise EnvironmentUnreachable(clean(f"The chatbot's answer has no reply: {told}.")) from None
        if self._secrets.redacted(str(conversation_id)) != str(conversation_id):
            raise EnvironmentUnreachable(
                "The chatbot's conversation has a secret for its id, which is not kept."
            )
        reply = clean(self._secrets.redacted(said)).strip()
        if len(reply) > MAX_REPLY_LENGTH:
            reply = reply[: MAX_REPLY_LENGTH - 1] + "…"
        # Only now: a message that was cut off in mid-air leaves everything here as it was.
        self._status, self._news, self._conversation_id = status, reply, conversation_id
        self._problem = "" if reply else "The bot says nothing."
        turns = ({"role": "user", "content": message}, {"role": "assistant", "content": reply})
        self._said = _kept((*self._said, *turns), KEPT_CHARS if self._bot.sends_full_history else VIEW_CHARS)

    def _view(self) -> str:
        lines = (f"{_SPEAKERS[said['role']]}: {said['content']}" for said in _kept(self._said, VIEW_CHARS))
        return "\n\n".join(lines)[-self._view_chars :]


def _kept(said: tuple[dict[str, str], ...], room: int) -> tuple[dict[str, str], ...]:
    """The latest turns that there is room for, each whole, the person's first; at least the last two."""
    first = len(said)
    for first in range(len(said), -1, -2):
        if first == 0 or len(said) - first >= KEPT_MESSAGES:
            break
        room -= sum(len(one["content"]) for one in said[first - 2 : first])
        if room < 0 and first < len(said):
            break
    return said[first:]
