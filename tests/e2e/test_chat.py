"""A chat study with real processes: cancelled, extended, and nothing is lost or told that should not be."""

import json
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.http_client import ApiClient
from tests.servers import Fleet, serve_in_thread, wait_until
from understudy.deploy.chatbot.app import create_chatbot
from understudy.settings import Settings
from understudy.store.engine import Store
from understudy.store.schema import Tables

KEY = "sk-nobody-may-see-this"
TOPICS = ("shipping", "payment", "gift wrapping", "opening hours")
TASK = " ".join(f"Ask about {topic}." for topic in (*TOPICS, "shipping to Peru", "paying by card", "presents"))
INSTRUCTION = "Ask what it remembers."


class Holding:
    """Hands messages on to a bot, but for the fourth: that one hangs until whoever sent it goes away."""

    def __init__(self, bot: Any) -> None:
        self._bot = bot
        self._messages = 0
        self.holds = threading.Event()
        self.cut_off = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._messages += scope["type"] == "http"
        if self._messages != 4 or scope["type"] != "http":
            await self._bot(scope, receive, send)
            return
        self.holds.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.cut_off.set()


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
def test_a_chat_goes_on_after_a_cancel_and_the_bot_remembers(
    store: Store, acme: ApiClient, fleet: Fleet, settings: Settings, tmp_path: Path, protocol: str
) -> None:
    bot = create_chatbot(key=KEY)
    line = Holding(bot)
    with serve_in_thread(line) as url:
        secrets = tmp_path / "secrets.json"
        secrets.write_text(json.dumps({"desk": {"value": f"Bearer {KEY}", "origins": [url]}}))
        allowed = {
            "UNDERSTUDY_ALLOW_PRIVATE_HOSTS": "true",
            "UNDERSTUDY_SECRETS_FILE": str(secrets),
        }
        processes = fleet.start("run-1", "control", "sweeper", **allowed)
        study = acme.post(
            "/v1/studies",
            {
                "name": "Help desk",
                "modality": "chat",
                "assignment": {"task": TASK, "success": {"text_contains": "We talked about"}},
                "iteration": {"content": content(url, protocol)},
            },
        ).json()
        answer = acme.post(f"/v1/studies/{study['id']}/run", {"sample": 1, "seed": 1}).json()
        (source,) = answer["dispatch"]["participant_ids"]
        wait_until(line.holds.is_set)
        cancelled = acme.post("/v1/simulations/cancel", {"participant_id": source}).json()
        assert cancelled["summary"]["cancelled_count"] == 1
        wait_until(line.cut_off.is_set, what="the bot sees the connection close")
        body = {"participant_id": source, "instruction": INSTRUCTION, "wait": True, "timeout": 60}
        extended = acme.post("/v1/simulations/extend", body).json()
        (child,) = extended["participants"]
        assert (child["status"], child["outcome"]) == ("completed", "succeeded"), extended

    inherited = extended["dispatch"]["inherited_interactions"]
    assert inherited == 3
    view = acme.get(f"/v1/studies/{study['id']}", view="transcripts").json()
    told = {one["participant_id"]: one["items"] for one in view["transcripts"]}
    roles = [(item["role"], item.get("index")) for item in told[child["participant_id"]]]
    before = [pair for index in range(inherited) for pair in (("person", index), ("environment", index))]
    after = [("user", None), ("person", inherited), ("environment", inherited)]
    assert roles == [("system", None), *before, *after]
    assert told[source] == told[child["participant_id"]][: 1 + len(before)]
    *_, instruction, asked, remembered = told[child["participant_id"]]
    assert instruction["content"] == INSTRUCTION
    assert "what it remembers" in asked["content"]
    assert asked["thought"]
    # The bot knows what the transcript has, no less and no more.
    about = ", ".join(TOPICS[:inherited])
    assert remembered["content"] == f"This is message {inherited + 1}. We talked about: {about}."
    assert len(bot.state.conversations) == (1 if protocol == "json" else 0)
    check_untold(store, acme, UUID(source), json.dumps([view, extended, study]))
    assert not any(KEY in process.log.read_text() for process in processes)


def check_untold(store: Store, acme: ApiClient, participant: UUID, *answers: str) -> None:
    """The key is in no row of any table, in no event and in no answer."""
    with store.read() as connection:
        tables = Tables.workspace.metadata.sorted_tables
        stored = [repr(row) for table in tables for row in connection.execute(select(table))]
    events = acme.get("/v1/events", participant_id=str(participant), follow="false").text
    assert "interaction" in events
    assert not any(KEY in text for text in (*stored, *answers, events))


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_bot_that_is_not_there_fails_with_its_reason(
    store: Store, acme: ApiClient, fleet: Fleet, settings: Settings
) -> None:
    fleet.start("run-1", "sweeper", UNDERSTUDY_ALLOW_PRIVATE_HOSTS="true")
    for place, told in (
        ({"url": "http://127.0.0.1:1/v1"}, "could not be reached"),
        ({"url": "http://127.0.0.1:1/v1", "headers": {"X-Key": {"secret": "other"}}}, "no secret 'other'"),
    ):
        study = acme.post(
            "/v1/studies",
            {
                "name": "Nobody",
                "modality": "chat",
                "assignment": {"task": TASK},
                "iteration": {"content": {"environment": "chat", "protocol": "openai"} | place},
            },
        ).json()
        body = {"sample": 1, "wait": True, "timeout": 60}
        (one,) = acme.post(f"/v1/studies/{study['id']}/run", body).json()["participants"]
        assert (one["status"], one["error_kind"]) == ("failed", "environment_error")
        assert told in acme.get(f"/v1/participants/{one['participant_id']}").json()["error_message"]
