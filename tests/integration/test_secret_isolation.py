"""A workspace tries to use the secret of another one in hundreds of ways, as a worker runs its participants."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.servers import serve_in_thread
from understudy.deploy.owner_only_files import write_private
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.runs import RunSpec
from understudy.domain.userinfo import without_userinfo
from understudy.environments import EnvironmentUnreachable
from understudy.plugins.secrets import Secrets
from understudy.worker.steps import ClaimedRun, SimulationSession

KEY = "sk-of-acme-0123456789"
ACME, FRESH = (UUID(int=1), "acme"), (UUID(int=2), "fresh")


class Bot:
    """Answers every message, and records the headers that it gets."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.got.append({name.decode(): value.decode() for name, value in scope["headers"]})
        moved = scope["path"].startswith("/moved")
        headers = [(b"location", b"/v1/chat/completions")] if moved else []
        await send({"type": "http.response.start", "status": 307 if moved else 200, "headers": headers})
        answer = {"text": "Hello", "choices": [{"message": {"content": "Hello"}}]}
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@pytest.fixture(scope="module")
def bot_at() -> Iterator[tuple[Bot, str]]:
    bot = Bot()
    with serve_in_thread(bot) as url:
        yield bot, url


def secrets_at(folder: Path, url: str) -> Secrets:
    place = {"header": "Authorization", "origins": [url], "path_prefix": "/v1", "value": f"Bearer {KEY}"}
    entries = {
        "acme_bot": place | {"workspaces": ["acme"]},
        "by_id": place | {"workspaces": [str(ACME[0])]},
        "of_nobody": place,
    }
    write_private(folder / "secrets.json", json.dumps(entries))
    return Secrets.load(str(folder / "secrets.json"))


def session(workspace: tuple[UUID, str], content: dict[str, Any], secrets: Secrets) -> SimulationSession:
    """Returns a run of a new participant."""
    row = SimpleNamespace(
        interaction_count=0,
        max_interactions=5,
        instruction=None,
        extended_from=None,
        branched_at=None,
        seed=1,
        workspace_id=workspace[0],
        study_id=uuid4(),
        ask_id=None,
    )
    spec = RunSpec(
        "Ada", 30, "PE", "en", {}, "", {"task": "Ask about shipping."}, content, "heuristic", 60, 600, "chat"
    )
    claimed = ClaimedRun(row, spec._replace(workspace=workspace[1]), None, ())
    return SimulationSession(claimed, addresses=AllowedAddresses.of(all_private=True), secrets=secrets)


async def outcome(run: SimulationSession) -> str:
    try:
        await run.step()
    except EnvironmentUnreachable as refused:
        return str(refused)
    finally:
        await run.close()
    return "sent"


NAMES = ("acme_bot", "by_id", "of_nobody", "nobody", "ACME_BOT")
HEADERS = ("Authorization", "authorization", "X-Api-Key", "Cookie")
PATHS = (
    "/v1",
    "/v1/chat",
    "/v1x",
    "/admin",
    "/v1/../admin",
    "/v1/%2e%2e/admin",
    "/v1%2fchat",
    "//v1/chat",
    "/V1/chat",
    "/moved",
)


def content(protocol: str, url: str, header: str, name: str) -> dict[str, Any]:
    common = {"environment": "chat", "protocol": protocol, "url": url, "headers": {header: {"secret": name}}}
    return common if protocol == "openai" else common | {"request": {"text": "{message}"}, "response_path": "text"}


def test_fresh_workspace_uses_no_secret_of_another_one(bot_at: tuple[Bot, str], tmp_path: Path) -> None:
    bot, url = bot_at
    secrets = secrets_at(tmp_path, url)
    bot.got.clear()
    port = url.rpartition(":")[2]
    origins = (url, f"http://localhost:{port}", f"http://user@127.0.0.1:{port}", f"http://127.0.0.1.:{port}")
    tried = list(itertools.product(("openai", "json"), NAMES, HEADERS, origins, PATHS))

    async def answers() -> set[str]:
        found = set()
        for protocol, name, header, origin, path in tried:
            made = content(protocol, f"{origin}{path}", header, name)
            answer = await outcome(session(FRESH, made, secrets))
            shown = f"{origin}{path}" + ("/chat/completions" if protocol == "openai" else "")
            found.add(answer.replace(without_userinfo(shown), "URL"))
        return found

    assert len(tried) >= 200
    assert asyncio.run(answers()) == {
        "The chatbot at URL cannot be called: a secret of its headers is not available here."
    }
    assert bot.got == []


def test_owner_gets_the_same_refusals_for_its_own_mistakes_and_else_an_answer(
    bot_at: tuple[Bot, str], tmp_path: Path
) -> None:
    bot, url = bot_at
    secrets = secrets_at(tmp_path, url)
    bot.got.clear()
    answers = {
        (name, header, path): asyncio.run(
            outcome(session(ACME, content("json", f"{url}{path}", header, name), secrets))
        ).replace(f"{url}{path}", "URL")
        for name, header, path in itertools.product(NAMES, HEADERS, PATHS)
    }
    right = set(itertools.product(("acme_bot", "by_id"), HEADERS[:2], PATHS[:2]))
    assert {tried for tried, answer in answers.items() if answer == "sent"} == right
    assert len(set(answers.values())) == 2
    assert [got["authorization"] for got in bot.got] == [f"Bearer {KEY}"] * len(right)
