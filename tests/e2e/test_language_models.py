"""The mind `llm` with real processes: a fleet, the demo shop, and a fake model server."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from tests.e2e.participants import all_terminal, counts, dispatch_participants, load_rows
from tests.fake_model import DIRECTION
from tests.http_client import ApiClient
from tests.models import FakeModel
from tests.servers import Fleet, serve_in_thread, wait_until
from understudy.deploy.shop.app import create_shop
from understudy.store.engine import Store

KEY = "sk-a-key-that-nobody-else-may-see"


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    with FakeModel.serving() as serving:
        serving.key(KEY)
        yield serving


@pytest.fixture
def shop() -> Iterator[str]:
    with serve_in_thread(create_shop()) as url:
        yield url


def start(fleet: Fleet, fake: FakeModel, *names: str, profiles: str = "") -> None:
    """Starts workers with the walker as default model, the lingerer as a profile, and `profiles`."""
    folder = fleet.settings.data_dir
    (folder / "key").write_text(KEY)
    (folder / "profiles.toml").write_text(
        f'[linger]\nbase_url = "{fake.base_url}"\nmodel = "lingerer"\napi_key_file = "{folder / "key"}"\n'
        'workspaces = ["acme"]\n' + profiles
    )
    variables = {
        "LLM_BASE_URL": fake.base_url,
        "LLM_MODEL": "walker:0.3",
        "LLM_API_KEY": KEY,
        "LLM_INPUT_PRICE": "1",
        "LLM_WORKSPACES": "*",
        "LLM_OUTPUT_PRICE": "4",
        "LLM_PROFILES_FILE": str(folder / "profiles.toml"),
        "ALLOW_PRIVATE_HOSTS": "true",
    }
    fleet.start(*names, concurrency=40, **{f"UNDERSTUDY_{name}": value for name, value in variables.items()})


def buy_a_mug(acme: ApiClient, shop: str, *minds: str) -> tuple[str, list[str]]:
    """Creates a study of buying a blue mug, with one iteration per mind."""
    assignment = {"task": "Buy a blue mug", "success": {"url_contains": "/order/confirmed"}}
    request = {"name": "Mug", "modality": "interactive", "assignment": assignment}
    study = acme.post("/v1/studies", request).json()["id"]
    content = {"environment": "web", "url": f"{shop}/"}
    iterations = [
        acme.post(f"/v1/studies/{study}/iterations", {"content": content, "mind": mind}).json()["id"] for mind in minds
    ]
    return study, iterations


def on_product_page(fake: FakeModel) -> int:
    """Returns how many lingerers wait for an answer on a product page."""
    entries = [entry["body"]["messages"] for entry in fake.seen("lingerer") if entry["end"] == "open"]
    return sum("/product/" in messages[-1]["content"].partition("\n")[0] for messages in entries)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_cancel_closes_the_model_calls_and_an_extend_follows_the_instruction(
    store: Store, acme: ApiClient, fleet: Fleet, fake: FakeModel, shop: str
) -> None:
    study, (walking, lingering) = buy_a_mug(acme, shop, "llm", "llm:linger")
    start(fleet, fake, "run-1", "control", "sweeper")
    lingerers = dispatch_participants(acme, UUID(study), 5, iteration_id=lingering, max_interactions=30)
    walkers = dispatch_participants(acme, UUID(study), 15, iteration_id=walking, max_interactions=30)
    wait_until(lambda: on_product_page(fake) == 5)

    asked_at = time.monotonic()
    answer = acme.post("/v1/simulations/cancel", {"iteration_id": lingering}).json()
    answered_at = time.monotonic()
    assert answer["summary"]["cancelled_count"] == 5
    closed = fake.wait_for("lingerer", "closed", 5)
    assert len(closed) == 5
    # Shown with `pytest -s`.
    after_ms = [round((entry["ended_at"] - asked_at) * 1000) for entry in closed]
    sys.stdout.write(f"the cancel took {(answered_at - asked_at) * 1000:.0f} ms, ")
    sys.stdout.write(f"connections were closed {after_ms} ms after it was asked for\n")
    wait_until(lambda: all_terminal(store))
    assert counts(store) == {"completed": 15, "cancelled": 5}
    assert {row.outcome for row in load_rows(store) if str(row.id) in walkers} == {"succeeded"}

    before = len(fake.seen("lingerer"))
    body = {"participant_id": lingerers[0], "instruction": DIRECTION, "wait": True, "timeout": 100}
    extended = acme.post("/v1/simulations/extend", body).json()
    assert extended["participants"][0]["status"] == "completed", extended
    first, second = (entry["body"]["messages"] for entry in fake.seen("lingerer")[before:])
    instruction = {"role": "user", "content": DIRECTION}
    # It follows the source's interactions and precedes its own.
    assert [message["role"] for message in first[-3:]] == ["assistant", "user", "user"]
    assert first[-2] == instruction
    # It stays there.
    assert second[: len(first) - 1] == first[:-1]
    assert [message["role"] for message in second[len(first) - 1 :]] == ["user", "assistant", "user"]
    assert [message for message in second if message == instruction] == [instruction]
    # The usage counts each answered call of a stored step.
    answered = [entry for entry in fake.seen() if entry["end"] == "answered"]
    used = acme.get(f"/v1/studies/{study}").json()["usage"]
    assert used["calls"] == len(answered)
    assert used["output_tokens"] > 0
    one = acme.get(f"/v1/participants/{walkers[0]}").json()["usage"]
    assert one["cost"] == pytest.approx((one["input_tokens"] + 4 * one["output_tokens"]) / 1e6)
    check_key_is_nowhere(store, fleet)


def check_key_is_nowhere(store: Store, fleet: Fleet) -> None:
    """The key is in no log and no table."""
    texts = {"log": (fleet.settings.data_dir / "run-1.log").read_text()}
    with store.read() as connection:
        tables = SQLModel.metadata.sorted_tables
        texts |= {table.name: str(connection.execute(select(table)).all()) for table in tables}
    assert [name for name, text in texts.items() if KEY in text] == []


DECISION = {"thought": "Mugs!", "action": {"kind": "wait"}, "sentiment": 0.5, "note": ""}
#: Faulty answers of a server -> the participant's error message.
ODD: dict[str, tuple[dict[str, Any], str]] = {
    "garbage": ({"text": "<html>\0 Bad gateway"}, "something other than a chat completion"),
    "talk": (
        {"content": "I would love to!"},
        "gave an invalid decision twice: The answer has no complete JSON",
    ),
    "nul": ({"content": '{"action": "\\u0000\\ud800"}'}, '"thought" must be a text.'),
    "error": ({"status": 500, "because": f"no\0\ud800 {KEY}"}, "answered 500"),
    "hang": ({"hang": True}, "gave no answer within 3 s"),
    "drip": ({"decision": DECISION, "drip_s": 0.2}, "gave no answer within 3 s"),
    "gone": ({"hang_up": True}, "cannot be reached"),
    "endless": ({"endless": True}, "sent an answer that is too large"),
    "swells": ({"packed": "{", "spaces": 100_000_000}, "sent an answer that is too large"),
    "echo": (
        {"content": f"You are {KEY}.", "refusal": f"Not with {KEY}."},
        "The model refused: Not with ***.",
    ),
}
#: Invalid profiles of an operator; callers are told only that they are not available.
WRONG = (
    ("portless", 'base_url = "http://127.0.0.1:99999/v1"'),
    ("keyless", 'api_key_file = "/nowhere"'),
    ("twokeys", f'api_key = "{KEY}\\n{KEY}"'),
    ("dear", "input_price = inf\noutput_price = 1.0"),
)
UNAVAILABLE = "is not available to this workspace"


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_faulty_model_fails_its_participant_with_the_reason_and_stores_nothing(
    store: Store, acme: ApiClient, fleet: Fleet, fake: FakeModel, shop: str
) -> None:
    fake.key(None)
    terms = f'base_url = "{fake.base_url}"\nworkspaces = ["acme"]\nretries = 0\napi_key = "{KEY}"\n'
    odd = {
        name: f'[{name}]\nmodel = "{fake.script(name, act)}"\n{terms}'
        + ("timeout_s = 3\n" if "within 3 s" in text else "")
        for name, (act, text) in ODD.items()
    }
    wrong = {name: f'[{name}]\nmodel = "m"\nworkspaces = ["acme"]\n{setting}\n' for name, setting in WRONG}
    wrong = {
        name: table if "base_url" in table else f'{table}base_url = "{fake.base_url}"\n'
        for name, table in wrong.items()
    }
    start(fleet, fake, "run-1", "sweeper", profiles="".join((*odd.values(), *wrong.values())))
    messages = {name: text for name, (_, text) in ODD.items()}
    messages |= {name: UNAVAILABLE for name, _ in (*WRONG, ("nobody", ""))}
    study, iterations = buy_a_mug(acme, shop, *(f"llm:{name}" for name in messages))
    ids = {
        name: dispatch_participants(acme, UUID(study), 1, iteration_id=iteration)[0]
        for name, iteration in zip(messages, iterations, strict=True)
    }
    wait_until(lambda: all_terminal(store))
    rows = {name: acme.get(f"/v1/participants/{id_}").json() for name, id_ in ids.items()}
    assert {
        name: row["error_message"] for name, row in rows.items() if messages[name] not in row["error_message"]
    } == {}
    ends = {(row["status"], row["error_kind"], row["interaction_count"]) for row in rows.values()}
    assert ends == {("failed", "simulator_error", 0)}
    assert "Traceback" not in json.dumps(rows)
    # The usage counts calls without a valid answer, too.
    calls = {name: row.get("usage", {}).get("calls", 0) for name, row in rows.items()}
    assert calls == {name: len(fake.seen(f"script:{name}")) for name in rows}
    check_key_is_nowhere(store, fleet)
    # The server recovers: an extend continues.
    fake.script("garbage", {"decision": DECISION})
    body = {"participant_id": ids["garbage"], "additional_steps": 1, "wait": True, "timeout": 60}
    extended = acme.post("/v1/simulations/extend", body).json()
    assert extended["participants"][0]["status"] == "completed", extended
