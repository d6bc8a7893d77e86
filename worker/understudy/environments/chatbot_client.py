"""Chatbot client: sends a participant's messages to a chatbot over the guarded transport."""

import asyncio
import json
from typing import Any
from urllib.parse import urljoin

import httpx

from understudy.domain.addresses import AllowedAddresses
from understudy.domain.chat import ChatbotConfig
from understudy.domain.userinfo import without_userinfo
from understudy.environments import EnvironmentUnreachable
from understudy.environments.fetch import MAX_BYTES, MAX_REDIRECTS, read_body
from understudy.environments.guarded_transport import GuardedTransport, HostNotFound, Resolver
from understudy.environments.page import tidy
from understudy.isolation import OwnFailure
from understudy.isolation.json_bounds import TooManyValues, loads_bounded
from understudy.isolation.resolver import resolve
from understudy.plugins.secrets import RunSecrets, SecretNotAllowed
from understudy.plugins.time_limits import current_timer

#: Maximum attempts for one message while the bot answers 429 or 503, and the first pause in seconds unless
#: the bot sends Retry-After.
_MAX_ATTEMPTS = 4
_PAUSE_S = 1.0
_MAX_RETRY_DELAY_S = 30.0
_BUSY = frozenset((429, 503))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_TIMEOUTS = {"connect": 15.0, "read": None, "write": 30.0, "pool": 15.0}
_EXCERPT_CHARS = 200
_HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; Understudy/0.1; simulated participant)",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
    # An idle connection may be closed, and a message must not be sent twice.
    "Connection": "close",
}


class ChatbotClient:
    """Sends messages to one bot. Stores no cookies: the bot knows only what the requests contain."""

    def __init__(
        self, bot: ChatbotConfig, secrets: RunSecrets, *, addresses: AllowedAddresses, resolver: Resolver = resolve
    ) -> None:
        self._bot = bot
        self._secrets = secrets
        self._transport = GuardedTransport(addresses=addresses, start=bot.url, resolver=resolver)

    @property
    def from_public(self) -> bool | None:
        """Returns whether the bot's address is public; None before the first connection."""
        return self._transport.from_public

    def resume(self, from_public: bool | None) -> None:
        """Continues a conversation with a bot of this kind; None: it is not known yet."""
        self._transport.from_public = from_public

    def check(self) -> None:
        """Raises EnvironmentUnreachable if a secret is missing, before the first message is sent."""
        self._secret_headers(self._bot.url)

    async def ask(self, body: Any) -> tuple[Any, int]:
        """Returns the bot's JSON answer and its status. Raises EnvironmentUnreachable for anything else.

        The message is sent again only if the bot answers 429 or 503. While we lack something to send it, for
        example the answer of a name server, this waits.
        """
        sent = json.dumps(body).encode()
        while True:
            try:
                async with asyncio.timeout(self._bot.reply_timeout_s):
                    answer = await self._ask(sent)
                current_timer().delayed_by = ""
                return answer  # noqa: TRY300 - a failure has no answer
            except TimeoutError:
                if not self._transport.waits_for_us:
                    raise self._failed(f"did not reply within {self._bot.reply_timeout_s:g} s") from None
                reason = "its address could not be looked up in time"
            except (OwnFailure, httpx.PoolTimeout) as error:
                reason = str(error)
            except (httpx.HTTPError, OSError) as error:
                raise self._failed(_error_text(error)) from error
            except (httpx.InvalidURL, ValueError) as error:
                raise self._failed("has an invalid address") from error
            # Nothing was sent. The step's time limit ends the attempts.
            current_timer().delayed_by = str(self._failed(f"could not be called: {reason}"))
            await asyncio.sleep(_PAUSE_S)

    async def close(self) -> None:
        await self._transport.aclose()

    async def _ask(self, body: bytes) -> tuple[Any, int]:
        url, attempt, redirects = self._bot.url, 1, 0
        while True:
            response = await self._send(url, body)
            try:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    url, redirects = self._redirect_target(url, response), redirects + 1
                    if redirects > MAX_REDIRECTS:
                        raise self._failed(f"sends too many redirects (more than {MAX_REDIRECTS})")
                    continue
                if response.status_code not in _BUSY or attempt == _MAX_ATTEMPTS:
                    return await self._answer(response)
                pause_s = _pause_s(response, attempt)
            finally:
                await response.aclose()
            attempt += 1
            await asyncio.sleep(pause_s)

    async def _send(self, url: str, body: bytes) -> httpx.Response:
        secret = self._secret_headers(url)
        headers = _HEADERS | dict(self._bot.headers) | secret
        request = httpx.Request("POST", url, headers=headers, content=body, extensions={"timeout": _TIMEOUTS})
        if request.url.scheme not in ("http", "https") or not request.url.host:
            raise self._failed("has an address that is neither http nor https")
        self._secrets.record(secret)
        return await self._transport.handle_async_request(request)

    def _secret_headers(self, url: str) -> dict[str, str]:
        try:
            return self._secrets.headers(self._bot.secrets, self._bot.headers, url)
        except SecretNotAllowed as refused:
            raise self._failed(f"cannot be called: {refused}") from None

    def _redirect_target(self, url: str, response: httpx.Response) -> str:
        target = urljoin(url, response.headers["location"])
        if response.status_code not in (307, 308):
            # The target may contain a secret that the bot got.
            shown = "elsewhere" if self._secrets.were_sent else f"to {tidy(without_userinfo(target), 200)}"
            raise self._failed(
                f"answers {response.status_code} and redirects {shown}, where the message "
                "would be lost; if that is the bot's address, set it in the iteration"
            )
        return target

    async def _answer(self, response: httpx.Response) -> tuple[Any, int]:
        body = await read_body(response)
        if body is None:
            raise self._failed("answers with a body that can't be unpacked")
        if not response.is_success:
            raise self._failed(f"answers with an error: {response.status_code}{self._excerpt(body)}")
        if len(body) >= MAX_BYTES:
            raise self._failed(f"answers with more than {MAX_BYTES:,} bytes")
        try:
            return loads_bounded(body), response.status_code
        except TooManyValues:
            raise self._failed("answers with JSON that has too many values") from None
        except (ValueError, RecursionError):
            raise self._failed(f"answers with a body that is not JSON{self._excerpt(body)}") from None

    def _excerpt(self, body: bytes) -> str:
        # A bot that got a secret may repeat it in a form that redaction does not know.
        text = "" if self._secrets.were_sent else tidy(body.decode("utf-8", "replace"), _EXCERPT_CHARS)
        return f" ({text})" if text else ""

    def _failed(self, what: str) -> EnvironmentUnreachable:
        url = tidy(without_userinfo(self._bot.url).partition("?")[0], 200)
        return EnvironmentUnreachable(f"The chatbot at {url} {what}.")


def _pause_s(response: httpx.Response, attempt: int) -> float:
    """Returns the seconds until the next attempt: Retry-After, else doubling pauses; bounded."""
    asked = response.headers.get("retry-after", "")
    pause_s = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else _PAUSE_S * 2 ** (attempt - 1)
    return min(pause_s, _MAX_RETRY_DELAY_S)


def _error_text(error: Exception) -> str:
    if isinstance(error, HostNotFound):
        return f"cannot be found: {error}"
    if isinstance(error, httpx.TimeoutException):
        return "took too long to answer"
    if isinstance(error, httpx.ConnectError):
        if "SSL" in str(error) or "ertificate" in str(error):
            return f"has no secure connection: {tidy(str(error), 200)}"
        return "could not be reached"
    return "closed the connection in the middle of its answer"
