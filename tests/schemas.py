"""The published schemas: `make schemas` writes docs/schemas anew, `make schemas ARGS=--promise` promises.

docs/schemas/*.json is how answers look now, one file for each. docs/schemas/v1 is what callers of version 1
were promised, without words: all routes with what they take and answer, all tools, and events. It only ever
grows: `--promise` adds what is new, and refuses when something that was promised would change. To break a
promise somebody must edit its file by hand.
"""

import json
import sys
import tempfile
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tests.contract.compatibility import WORDS, Schema, api_changes, broken_request, response_changes
from tests.servers import ROOT
from understudy.api.app import create_app
from understudy.envelopes import asks, docs, journeys
from understudy.envelopes.base import Page
from understudy.envelopes.errors import ErrorBody
from understudy.envelopes.events import EventData
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.envelopes.people import Panel, People, Person
from understudy.envelopes.simulations import CancelEnvelope, RunStudyResponse
from understudy.envelopes.studies import (
    Iteration,
    Study,
    StudyCreated,
    StudyFull,
    StudyPerParticipant,
    StudySummary,
    StudyTranscripts,
)
from understudy.mcp.schemas import input_schema
from understudy.operations.tools import TOOLS
from understudy.settings import Settings

FOLDER = ROOT / "docs" / "schemas"
PROMISED = FOLDER / "v1"
ROUTES = "openapi"
TOOLS_FILE = "mcp"
EVENTS = "events"

ANSWERS: dict[str, Any] = {
    "ErrorBody": ErrorBody,
    "CancelEnvelope": CancelEnvelope,
    "RunStudyResponse": RunStudyResponse,
    "Study": Study,
    "StudyPage": Page[Study],
    "StudySummary": StudySummary,
    "StudyFull": StudyFull,
    "StudyCreated": StudyCreated,
    "StudyPerParticipant": StudyPerParticipant,
    "StudyTranscripts": StudyTranscripts,
    "Iteration": Iteration,
    "Person": Person,
    "People": People,
    "PersonPage": Page[Person],
    "Panel": Panel,
    "Participant": Participant,
    "ParticipantPage": Page[Participant],
    "Interaction": Interaction,
    "InteractionPage": Page[Interaction],
    "Transcript": Transcript,
    "Journey": journeys.Journey,
    "Ask": asks.Ask,
    "AskPage": Page[asks.Ask],
    "AskSummary": asks.AskSummary,
    "AskPerParticipant": asks.AskPerParticipant,
    "AskFull": asks.AskFull,
    "EventData": EventData,
    "Doc": docs.Doc,
    "DocPage": Page[docs.DocEntry],
}


def answers() -> dict[str, Schema]:
    """How every answer looks now."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        | TypeAdapter(model).json_schema(mode="serialization")
        for name, model in ANSWERS.items()
    }


def routes() -> Schema:
    """/openapi.json with the settings that a server has by default."""
    with tempfile.TemporaryDirectory() as folder:
        return create_app(Settings(data_dir=Path(folder))).openapi()


def _any_of(models: tuple[Any, ...]) -> TypeAdapter[Any]:
    return TypeAdapter(reduce(or_, models))


def tools() -> Schema:
    """What each tool of the MCP server takes and answers."""
    return {
        tool.name: {
            "takes": input_schema(tool, Settings()),
            "answers": {"type": "object"} | _any_of(tool.answers).json_schema(mode="serialization"),
        }
        for tool in TOOLS
    }


def current() -> dict[str, Schema]:
    """All that is promised, as it is now, by the name of its file."""
    events = TypeAdapter(EventData).json_schema(mode="serialization")
    return {ROUTES: routes(), TOOLS_FILE: tools(), EVENTS: events}


def promised() -> dict[str, Schema]:
    """All that was promised."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(PROMISED.glob("*.json"))}


def broken(was: dict[str, Schema], now: dict[str, Schema]) -> list[str]:
    """Every promise that is not kept."""
    found: list[str] = []
    for name, schema in was.items():
        if name not in now:
            found.append(f"{name} is gone")
        elif name == ROUTES:
            found += api_changes(schema, now[name])
        elif name == TOOLS_FILE:
            found += _broken_tools(schema, now[name])
        else:
            found += [f"{name}: {one}" for one in response_changes(schema, now[name])]
    return found


def _broken_tools(was: Schema, now: Schema) -> list[str]:
    found = [f"tool {name} is gone" for name in was if name not in now]
    for name in was.keys() & now.keys():
        found += [f"tool {name}: {one}" for one in broken_request(was[name]["takes"], now[name]["takes"])]
        # As over REST, another view may be answered where somebody asks for it.
        has_views = "view" in was[name]["takes"]["properties"]
        answers = was[name]["answers"], now[name]["answers"]
        found += [f"tool {name}: {one}" for one in response_changes(*answers, has_views=has_views)]
    return found


def as_text(schema: Schema) -> str:
    """As it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main(options: list[str]) -> int:
    """0; 1 when a promise would be broken: nothing is written then."""
    if options == ["--promise"]:
        now = current()
        if found := broken(promised(), now):
            sys.stderr.write("\n".join(["These were promised:", *found]) + "\n")
            return 1
        _write(PROMISED, {name: _without_words(schema) for name, schema in now.items()})
    elif options:
        sys.stderr.write(f"There is no option {options[0]}; there is --promise.\n")
        return 2
    _write(FOLDER, answers())
    return 0


def _without_words(value: Any, *, names: bool = False) -> Any:
    """The same schema without what is no promise. `names`: these keys are names of fields, and stay."""
    if isinstance(value, list):
        return [_without_words(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {"properties", "schemas", "paths", "$defs"}
    return {
        key: _without_words(one, names=key in named and not names)
        for key, one in value.items()
        if names or key not in WORDS
    }


def _write(folder: Path, schemas: dict[str, Schema]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        if path.stem not in schemas:
            path.unlink()
    for name, schema in schemas.items():
        (folder / f"{name}.json").write_text(as_text(schema))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
