"""An ask with real processes: asked, asked again, stopped by round, taken up again."""

from uuid import UUID

from sqlalchemy import select

from tests.http_client import ApiClient
from tests.servers import Fleet, wait_until
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant


def test_an_ask_is_answered_and_its_answers_can_be_reconsidered(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    fleet.start("run-1", "sweeper")
    variants = ["A mug for quiet mornings.", "Buy our mug NOW!!! LIMITED OFFER!!!"]
    body = {
        "question": "Which mug?",
        "variants": variants,
        "sample": 4,
        "seed": 1,
        "wait": True,
        "timeout": 60,
    }
    told = acme.post("/v1/asks", body)
    assert (told.status_code, told.json()["ok"]) == (200, True), told.text
    ask = told.json()["dispatch"]["ask_id"]
    again = acme.post(f"/v1/asks/{ask}/rounds", {"variants": variants[::-1], "wait": True, "timeout": 60})
    assert again.json()["ok"], again.text
    summary = acme.get(f"/v1/asks/{ask}").json()
    assert [(one["answered_count"], one["partial"]) for one in summary["rounds"]] == [(4, False)] * 2
    # The same texts in another order, read with the same chance: everybody follows the text they liked.
    first, second = summary["rounds"]
    assert [one["picks"] for one in first["variants"]] == [one["picks"] for one in second["variants"]][::-1]
    source = told.json()["dispatch"]["participant_ids"][0]
    (before,) = (one for one in people(acme, ask) if one["answers"][0]["participant_id"] == source)
    other = {"A": "B", "B": "A"}[before["answers"][0]["pick"]]
    extend = {"instruction": f"Choose variant {other}.", "wait": True, "timeout": 60}
    child = acme.post(f"/v1/participants/{source}/extend", extend).json()
    assert child["participants"][0]["status"] == "completed", child
    (after,) = (one for one in people(acme, ask) if one["person_id"] == before["person_id"])
    assert after["answers"][0]["pick"] == other
    assert acme.get(f"/v1/asks/{ask}").json()["rounds"][0]["answered_count"] == 4


def people(acme: ApiClient, ask: str) -> list[dict[str, object]]:
    told: list[dict[str, object]] = acme.get(f"/v1/asks/{ask}", view="per_participant").json()["people"]
    return told


def test_a_round_is_stopped_in_mid_run_and_the_other_goes_on(store: Store, acme: ApiClient, fleet: Fleet) -> None:
    fleet.start("run-1", "control", "sweeper")
    # The scripted mind thinks about such a text for ever.
    body = {"question": "Which?", "variants": ["mind hangs"], "sample": 4, "mind": "scripted"}
    ask = acme.post("/v1/asks", body).json()["dispatch"]["ask_id"]
    second = acme.post(f"/v1/asks/{ask}/rounds", {}).json()["dispatch"]["participant_ids"]

    def rows(number: int) -> list[tuple[str, bool]]:
        with store.read() as connection:
            found = connection.execute(select(_p).where(_p.c.ask_id == UUID(ask), _p.c.round == number))
            return [(row.status, row.stopped_at is not None) for row in found]

    wait_until(lambda: rows(1) + rows(2) == [("running", False)] * 8, what="all are at it")
    told = acme.post("/v1/simulations/cancel", {"ask_id": ask, "round": 2}).json()
    assert {one["participant_id"] for one in told["cancelled"]} == set(second)
    wait_until(lambda: rows(2) == [("cancelled", True)] * 4, what="all stops recorded")
    assert rows(1) == [("running", False)] * 4
    told = acme.post("/v1/simulations/cancel", {"ask_id": ask}).json()
    assert told["summary"] == {"total": 8, "cancelled_count": 4, "skipped_count": 4}
