"""A chat study with real processes: cancelled and extended, with nothing lost and no secret shown."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.http_client import ApiClient
from tests.servers import Fleet, serve_in_thread, wait_until
from understudy.deploy.chatbot.app import create_chatbot
from understudy.deploy.owner_only_files import write_private
from understudy.store.engine import Store
from understudy.store.schema import Tables

KEY = "sk-nobody-may-see-this"
TOPICS = ("shipping", "payment", "gift wrapping", "opening hours")
TASK = " ".join(f"Ask about {topic}." for topic in (*TOPICS, "shipping to Peru", "paying by card", "presents"))
INSTRUCTION = "Ask what it remembers."


class BlockingProxy:
    """Passes messages to a bot, except the fourth, which hangs until its sender disconnects."""

    def __init__(self, bot: Any) -> None:
        self._bot = bot
        self._messages = 0
        self.blocked = threading.Event()
        self.disconnected = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._messages += scope["type"] == "http"
        if self._messages != 4 or scope["type"] != "http":
            await self._bot(scope, receive, send)
            return
        self.blocked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnected.set()


def create_study(acme: ApiClient, content: dict[str, object]) -> str:
    """Returns the id of a new chat study."""
    assignment = {"task": TASK, "success": {"text_contains": "We talked about"}}
    study = {"name": "Help desk", "modality": "chat", "assignment": assignment, "iteration": {"content": content}}
    return str(acme.post("/v1/studies", study).json()["id"])


def content(url: str, protocol: str) -> dict[str, object]:
    headers = {"Authorization": {"secret": "desk"}}
    common = {"environment": "chat", "protocol": protocol, "headers": headers}
    if protocol == "openai":
        return common | {"url": f"{url}/v1", "model": "help-desk"}
    request = {"conversation": "{conversation_id}", "text": "{message}"}
    return common | {"url": f"{url}/chat", "request": request, "response_path": "reply.text"}


@pytest.mark.parametrize(
    ("store_url", "protocol"), [("sqlite", "json"), ("postgresql", "openai")], indirect=["store_url"]
)
def test_an_extended_chat_continues_after_the_cancel_and_the_bot_remembers(
    store: Store, acme: ApiClient, fleet: Fleet, tmp_path: Path, protocol: str
) -> None:
    bot = create_chatbot(key=KEY)
    proxy = BlockingProxy(bot)
    with serve_in_thread(proxy) as url:
        secrets = tmp_path / "secrets.json"
        place = {"workspaces": ["acme"], "header": "Authorization", "origins": [url], "path_prefix": "/"}
        write_private(secrets, json.dumps({"desk": {"value": f"Bearer {KEY}"} | place}))
        allowed = {"UNDERSTUDY_ALLOW_PRIVATE_HOSTS": "true", "UNDERSTUDY_SECRETS_FILE": str(secrets)}
        processes = fleet.start("run-1", "control", "sweeper", **allowed)
        study = create_study(acme, content(url, protocol))
        answer = acme.post(f"/v1/studies/{study}/run", {"sample": 1, "seed": 1}).json()
        (source,) = answer["dispatch"]["participant_ids"]
        wait_until(proxy.blocked.is_set)
        cancelled = acme.post("/v1/simulations/cancel", {"participant_id": source}).json()
        assert cancelled["summary"]["cancelled_count"] == 1
        wait_until(proxy.disconnected.is_set, what="the bot sees the connection close")
        body = {"participant_id": source, "instruction": INSTRUCTION, "wait": True, "timeout": 60}
        extended = acme.post("/v1/simulations/extend", body).json()
        (child,) = extended["participants"]
        assert (child["status"], child["outcome"]) == ("completed", "succeeded"), extended

    inherited = extended["dispatch"]["inherited_interactions"]
    assert inherited == 3
    view = acme.get(f"/v1/studies/{study}", view="transcripts").json()
    transcripts = {row["participant_id"]: row["items"] for row in view["transcripts"]}
    transcript = transcripts[child["participant_id"]]
    roles = [(item["role"], item.get("index")) for item in transcript]
    before = [pair for index in range(inherited) for pair in (("person", index), ("environment", index))]
    after = [("user", None), ("person", inherited), ("environment", inherited)]
    assert roles == [("system", None), *before, *after]
    assert transcripts[source] == transcript[: 1 + len(before)]
    *_, instruction, asked, remembered = transcript
    assert instruction["content"] == INSTRUCTION
    assert "what it remembers" in asked["content"]
    assert asked["thought"]
    # The bot knows exactly what the transcript has.
    about = ", ".join(TOPICS[:inherited])
    assert remembered["content"] == f"This is message {inherited + 1}. We talked about: {about}."
    assert len(bot.state.conversations) == (1 if protocol == "json" else 0)
    check_key_is_nowhere(store, acme, source, json.dumps([view, extended, acme.get(f"/v1/studies/{study}").json()]))
    assert not any(KEY in process.log.read_text() for process in processes)


def check_key_is_nowhere(store: Store, acme: ApiClient, participant: str, *answers: str) -> None:
    """The key is in no row of any table, in no event and in no answer."""
    with store.read() as connection:
        tables = Tables.workspace.metadata.sorted_tables
        stored = [repr(row) for table in tables for row in connection.execute(select(table))]
    events = acme.get("/v1/events", participant_id=participant, follow="false").text
    assert "interaction" in events
    assert not any(KEY in text for text in (*stored, *answers, events))


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_bot_that_cannot_be_reached_fails_the_participant_with_the_reason(acme: ApiClient, fleet: Fleet) -> None:
    fleet.start("run-1", "sweeper", UNDERSTUDY_ALLOW_PRIVATE_HOSTS="true")

    def failure(**place: object) -> str:
        study = create_study(
            acme, {"environment": "chat", "protocol": "openai", "url": "http://127.0.0.1:1/v1"} | place
        )
        body = {"sample": 1, "wait": True, "timeout": 60}
        (row,) = acme.post(f"/v1/studies/{study}/run", body).json()["participants"]
        assert (row["status"], row["error_kind"]) == ("failed", "environment_error")
        return str(acme.get(f"/v1/participants/{row['participant_id']}").json()["error_message"])

    assert "could not be reached" in failure()
    assert "is not available here" in failure(headers={"X-Key": {"secret": "other"}})
