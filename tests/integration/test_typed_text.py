"""Sites that repeat what people typed: no success until the site shows the text by itself."""

import asyncio
from collections.abc import Iterator
from html import escape
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tests.environments import simulate, stored
from tests.servers import serve_in_thread
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.lifecycle import Outcome
from understudy.domain.people import generate_people
from understudy.domain.runs import RunSpec, Step
from understudy.domain.simulation import Action, Assignment, Decision, Success, Turn
from understudy.environments.web import WebEnvironment
from understudy.worker.steps import ClaimedRun, SimulationSession

WANTED = "purple elephant"
FORM = "<form method={} action=/search><label>Search <input name=q value='{}'></label><button>Search</button></form>"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    site = FastAPI()
    searched: list[str] = []

    @site.get("/search", response_class=HTMLResponse)
    async def results(q: str | None = None) -> str:
        repeated = escape(q or searched[-1])
        form = FORM.format("get", repeated)
        return f"<title>Results</title><h1>No results for {repeated}</h1>{form}<a href=/p/17>Toys</a>"

    @site.post("/search")
    async def search(request: Request) -> Response:
        searched.extend(parse_qs((await request.body()).decode())["q"])
        return RedirectResponse("/search", 303)

    @site.get("/p/17", response_class=HTMLResponse)
    async def product() -> str:
        return "<title>Toy</title><h1>Purple Elephant</h1><p>Ten euros.</p>"

    @site.get("/{method}", response_class=HTMLResponse)
    async def start(method: str) -> str:
        return f"<title>Zoo</title><h1>Zoo shop</h1>{FORM.format(method, '')}"

    with serve_in_thread(site) as address:
        yield address


@pytest.mark.parametrize("method", ["get", "post"])
def test_search_page_that_repeats_the_words_is_no_success_for_anyone(url: str, method: str) -> None:
    people = generate_people(3, seed=4)
    assignment = Assignment(f'Search for "{WANTED}"', Success(text_contains=WANTED))

    async def scene() -> list[Any]:
        environments = [WebEnvironment({"url": f"{url}/{method}"}, allow_private_hosts=True) for _ in people]
        runs = zip(environments, people, strict=True)
        return await asyncio.gather(*(simulate(place, person, assignment, cap=2) for place, person in runs))

    journeys = asyncio.run(scene())
    assert [WANTED in journey.last.text.casefold() for journey in journeys] == [True] * 3
    assert [journey.end for journey in journeys if journey.end == "succeeded"] == []


class Script:
    """A mind that takes given actions, each on the element with its label."""

    def __init__(self, *acts: tuple[str, str, str | None]) -> None:
        self._acts = iter(acts)

    async def decide(self, turn: Turn) -> Decision:
        kind, label, value = next(self._acts)
        number = next((each.number for each in turn.observation.elements if each.label == label), None)
        return Decision("Hm.", Action(kind, number, label, value), 0.0)


def session(url: str, state: Any = None, history: Any = (), count: int = 0) -> SimulationSession:
    row = SimpleNamespace(
        interaction_count=count,
        max_interactions=20,
        instruction=None,
        extended_from=None,
        branched_at=None,
        seed=1,
        workspace_id=uuid4(),
        study_id=uuid4(),
        ask_id=None,
    )
    assignment = {"task": "Find it", "success": {"text_contains": WANTED}}
    content = {"environment": "web", "url": url}
    spec = RunSpec("Ada", 30, "PE", "en", {}, "", assignment, content, "heuristic", 60, 600, "interactive")
    return SimulationSession(ClaimedRun(row, spec, state, history), addresses=AllowedAddresses.of(all_private=True))


def take(run: SimulationSession, *acts: tuple[str, str, str | None]) -> list[Step]:
    """Returns the steps of a run that takes these actions."""
    run._mind = Script(*acts)

    async def scene() -> list[Step]:
        steps = []
        for _ in acts:
            steps.append(await run.step())
            run.remember(steps[-1])
        await run.close()
        return steps

    return asyncio.run(scene())


SEARCH = (("fill", "Search", "Purple Elephant"), ("press", "Search", None))


@pytest.mark.parametrize("method", ["get", "post"])
def test_product_page_behind_a_link_is_a_success(url: str, method: str) -> None:
    filled, searched, found = take(session(f"{url}/{method}"), *SEARCH, ("follow", "Toys", None))
    assert "No results for Purple Elephant" in searched.state["environment"]["page"]["text"]
    assert [filled.outcome, searched.outcome, found.outcome] == [None, None, Outcome.SUCCEEDED]


@pytest.mark.parametrize("method", ["get", "post"])
def test_extended_run_counts_text_of_inherited_steps_as_typed(url: str, method: str) -> None:
    (filled,) = take(session(f"{url}/{method}"), SEARCH[0])
    searched, found = take(
        session(url, stored(filled.state), count=1), ("press", "Search", None), ("follow", "Toys", None)
    )
    assert [searched.outcome, found.outcome] == [None, Outcome.SUCCEEDED]
    (waited,) = take(session(url, stored(searched.state), count=2), ("wait", "", None))
    assert waited.outcome is None


def test_run_from_a_checkpoint_of_an_older_worker_counts_its_history_as_typed(url: str) -> None:
    (filled,) = take(session(f"{url}/post"), SEARCH[0])
    state = {name: part for name, part in stored(filled.state).items() if name != "typed"}
    past = SimpleNamespace(ordinal=0, **{name: getattr(filled, name) for name in ("thought", "action", "sentiment")})
    past.observation, past.result = filled.observation, filled.result
    (searched,) = take(session(url, state, [past], count=1), ("press", "Search", None))
    assert searched.outcome is None
