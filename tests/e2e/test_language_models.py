"""People that think, with real processes: a fleet, the demo shop, and a model server that is a faithful fake."""

from collections.abc import Iterator

import pytest

from deploy.shop.app import create_shop
from shared.store.engine import Store
from tests.callers import Caller
from tests.e2e.crowd import counts, done, rows
from tests.fake_model import DIRECTION
from tests.models import FakeModel
from tests.servers import Fleet, serve_in_thread, wait_until

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


def start(fleet: Fleet, fake: FakeModel, *names: str) -> None:
    """Workers that know the walker as their default model, and the lingerer as another profile."""
    folder = fleet.settings.data_dir
    (folder / "key").write_text(KEY)
    (folder / "profiles.toml").write_text(
        f'[linger]\nbase_url = "{fake.base_url}"\nmodel = "lingerer"\napi_key_file = "{folder / "key"}"\n'
    )
    variables = {
        "BASE_URL": fake.base_url,
        "MODEL": "walker",
        "API_KEY": KEY,
        "INPUT_PRICE": "1",
        "OUTPUT_PRICE": "4",
        "PROFILES_FILE": str(folder / "profiles.toml"),
    }
    fleet.start(*names, concurrency=40, **{f"UNDERSTUDY_LLM_{name}": value for name, value in variables.items()})


def order_a_mug(acme: Caller, shop: str, *minds: str) -> tuple[str, list[str]]:
    """A study of buying a blue mug, and an iteration for each of these minds."""
    success = {"url_contains": "/order/confirmed"}
    study = acme.post(
        "/v1/studies",
        {"name": "Mug", "modality": "interactive", "assignment": {"task": "Buy a blue mug", "success": success}},
    ).json()["id"]
    content = {"environment": "web", "url": f"{shop}/"}
    iterations = [
        acme.post(f"/v1/studies/{study}/iterations", {"content": content, "mind": mind}).json()["id"]
        for mind in minds
    ]
    return study, iterations


def send(acme: Caller, study: str, iteration: str, count: int) -> list[str]:
    ids = []
    while len(ids) < count:
        body = {"iteration_id": iteration, "sample": min(4, count - len(ids)), "max_interactions": 30}
        answer = acme.post(f"/v1/studies/{study}/run", body)
        assert answer.status_code == 202, answer.text
        ids += answer.json()["dispatch"]["participant_ids"]
    return ids


def test_twenty_think_five_are_cancelled_in_mid_call_and_one_goes_on_as_told(
    store: Store, acme: Caller, fleet: Fleet, fake: FakeModel, shop: str
) -> None:
    study, (walking, lingering) = order_a_mug(acme, shop, "llm", "llm:linger")
    start(fleet, fake, "run-1", "control", "sweeper")
    lingerers = send(acme, study, lingering, 5)
    wait_until(lambda: sum(entry["end"] == "open" for entry in fake.seen("lingerer")) == 5)
    at_it = [entry for entry in fake.seen("lingerer") if "/product/" in entry["body"]["messages"][-1]["content"]]
    wait_until(lambda: len(at_it) == 5 or at_it.extend([]) or len(
        [e for e in fake.seen("lingerer") if e["end"] == "open" and "/product/" in e["body"]["messages"][-1]["content"].partition("\n")[0]]
    ) == 5)
    walkers = send(acme, study, walking, 15)
    answer = acme.post("/v1/simulations/cancel", {"iteration_id": lingering}).json()
    assert answer["summary"]["cancelled_count"] == 5
    closed = fake.wait_for("lingerer", "closed", 5)
    assert len(closed) == 5
    wait_until(lambda: done(store))
    assert counts(store) == {"completed": 15, "cancelled": 5}
    outcomes = {row.outcome for row in rows(store) if str(row.id) in walkers}
    assert outcomes == {"succeeded"}

    before = len(fake.seen("lingerer"))
    body = {"participant_id": lingerers[0], "instruction": DIRECTION, "wait": True, "timeout": 30}
    extended = acme.post("/v1/simulations/extend", body).json()
    assert extended["participants"][0]["status"] == "completed", extended
    first, second = (entry["body"]["messages"] for entry in fake.seen("lingerer")[before:])
    told = {"role": "user", "content": DIRECTION}
    # Right after what the source did, and before anything of its own.
    assert [message["role"] for message in first[-3:]] == ["assistant", "user", "user"]
    assert first[-2] == told
    # And there it stays.
    assert second[: len(first) - 1] == first[:-1]
    assert [message["role"] for message in second[len(first) - 1 :]] == ["user", "assistant", "user"]
    assert [message for message in second if message == told] == [told]
    log = (fleet.settings.data_dir / "run-1.log").read_text()
    assert KEY not in log, log
