"""Chat environment: the person writes messages, and a chatbot answers."""

from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.chat import MAX_MESSAGE_LENGTH, ChatbotConfig, ReplyNotFound
from understudy.domain.errors import ValidationError
from understudy.domain.simulation import Action, Element, Json, Observation
from understudy.domain.userinfo import without_userinfo
from understudy.environments import EnvironmentUnreachable
from understudy.environments.chatbot_client import ChatbotClient
from understudy.environments.guarded_transport import Resolver
from understudy.environments.page import clean
from understudy.isolation.resolver import resolve
from understudy.plugins.secrets import RunSecrets

#: Maximum characters of a reply; longer ones are truncated.
MAX_REPLY_LENGTH = 8_000
#: Maximum messages and characters of history that are stored and sent to a bot without its own memory.
KEPT_MESSAGES = 200
KEPT_CHARS = 60_000
#: Characters that the person sees, and that are stored for a bot with its own memory.
VIEW_CHARS = 8_000

_SPEAKERS = {"user": "You", "assistant": "Bot"}


class ChatEnvironment:
    """Holds one participant's conversation. `shared/understudy/domain/chat.py` describes `content`.

    A resumed run continues by conversation id, or sends the history again, depending on the bot. If a
    participant is extended twice, both children share one conversation id.
    """

    takes_secrets = True
    takes_access = True
    takes_addresses = True

    def __init__(
        self,
        content: Json,
        *,
        allow_private_hosts: bool,
        secrets: RunSecrets | None = None,
        addresses: AllowedAddresses | None = None,
        access: AccessibilityNeeds | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        # Creation validates the content; `open` reports content that is invalid nevertheless.
        self._content = content
        self._secrets = secrets or RunSecrets()
        # A small or enlarged screen shows only the end of the conversation.
        self._view_chars = (access or AccessibilityNeeds()).visible_chars or VIEW_CHARS
        self._addresses = addresses or AllowedAddresses.of(all_private=allow_private_hosts)
        self._resolver = resolver
        self._bot: ChatbotConfig | None = None
        self._client: ChatbotClient | None = None
        self._conversation_id: str | int | None = None
        #: The latest messages, oldest first, with role and content.
        self._said: tuple[dict[str, str], ...] = ()
        self._news = ""
        self._problem = ""
        self._status: int | None = None
        #: Whether the bot's address is public; None before its first reply.
        self._from_public: bool | None = None

    async def open(self) -> None:
        """Prepares a conversation; the first message starts it."""
        self._connect()
        assert self._bot is not None
        if not self._bot.conversation_path:
            self._conversation_id = str(uuid4())

    async def restore(self, snapshot: Json) -> None:
        """Restores the conversation of `snapshot`. Sends nothing."""
        # Older snapshots do not have the kind of the bot's address.
        self._from_public = snapshot.get("from_public")
        self._connect()
        self._conversation_id = snapshot["conversation_id"]
        self._said = tuple(dict(message) for message in snapshot["said"])
        self._news = snapshot["news"]
        self._problem = snapshot["problem"]
        self._status = snapshot["status"]

    def observe(self) -> Observation:
        url = urlsplit(without_userinfo(str(self._content.get("url", ""))))
        return Observation(
            url=url._replace(query="", fragment="").geturl(),
            title=f"Chat with {url.hostname}",
            text=self._view(),
            elements=(Element(1, "textarea", "Your message"),),
            status=self._status,
            problem=self._problem,
            actions=("say",),
            news=self._news,
        )

    async def act(self, action: Action) -> None:
        """Sends the value of `say`. Raises EnvironmentUnreachable unless the bot replies as described."""
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
                self._problem = clean(f'The action "{action.kind[:50]}" is not possible here.')
        self._news = ""

    def snapshot(self) -> Json:
        """Returns the conversation id and the stored messages."""
        return {
            "conversation_id": self._conversation_id,
            "said": [dict(message) for message in self._said],
            "news": self._news,
            "problem": self._problem,
            "status": self._status,
            "from_public": self._from_public,
        }

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _connect(self) -> None:
        try:
            bot = ChatbotConfig.of(self._content)
        except (ValidationError, KeyError) as error:
            raise EnvironmentUnreachable(f"The iteration's chatbot is invalid: {error}") from error
        self._bot = bot
        self._client = ChatbotClient(bot, self._secrets, addresses=self._addresses, resolver=self._resolver)
        self._client.resume(self._from_public)
        self._client.check()

    async def _say(self, message: str) -> None:
        assert self._bot is not None
        assert self._client is not None
        body: Any = self._bot.request(message, self._conversation_id, self._said)
        answer, status = await self._client.ask(body)
        conversation_id = self._conversation_id
        try:
            reply = self._bot.reply(answer)
            if self._bot.conversation_path:
                conversation_id = self._bot.conversation(answer)
        except ReplyNotFound as problem:
            # The problem quotes names of the answer.
            reason = "" if self._secrets.were_sent else f": {problem}"
            raise EnvironmentUnreachable(clean(f"The chatbot's answer has no reply{reason}.")) from None
        if self._secrets.redacted(str(conversation_id)) != str(conversation_id):
            raise EnvironmentUnreachable("The chatbot's conversation id contains a secret, which must not be stored.")
        reply = clean(self._secrets.redacted(reply)).strip()
        if len(reply) > MAX_REPLY_LENGTH:
            reply = reply[: MAX_REPLY_LENGTH - 1] + "…"
        # Assigned last: an aborted message leaves the state unchanged.
        self._status, self._news, self._conversation_id = status, reply, conversation_id
        self._from_public = self._client.from_public
        self._problem = "" if reply else "The bot says nothing."
        turns = ({"role": "user", "content": message}, {"role": "assistant", "content": reply})
        self._said = _tail((*self._said, *turns), KEPT_CHARS if self._bot.sends_full_history else VIEW_CHARS)

    def _view(self) -> str:
        lines = (f"{_SPEAKERS[each['role']]}: {each['content']}" for each in _tail(self._said, VIEW_CHARS))
        return "\n\n".join(lines)[-self._view_chars :]


def _tail(messages: tuple[dict[str, str], ...], max_chars: int) -> tuple[dict[str, str], ...]:
    """Returns the latest whole turns that fit, each a message and its reply; at least the last turn."""
    first = len(messages)
    for first in range(len(messages), -1, -2):
        if first == 0 or len(messages) - first >= KEPT_MESSAGES:
            break
        max_chars -= sum(len(message["content"]) for message in messages[first - 2 : first])
        if max_chars < 0 and first < len(messages):
            break
    return messages[first:]
