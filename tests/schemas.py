"""The published schemas: `make schemas` writes docs/schemas, `make schemas ARGS=--promise` adds promises.

docs/schemas/*.json are the current answers, one file each. docs/schemas/v1 are the promises to callers of
version 1, without descriptions: all routes with requests and answers, all tools, and events. It only grows:
`--promise` adds new parts, and refuses if a promised part would change.
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
from understudy.envelopes.deletions import Deleted
from understudy.envelopes.errors import ErrorBody
from understudy.envelopes.events import EventData, EventTicket
from understudy.envelopes.participants import Interaction, Participant, Transcript
from understudy.envelopes.people import Panel, People, Person
from understudy.envelopes.simulations import CancelEnvelope, RunStudyResponse
from understudy.envelopes.studies import (
    Iteration,
    Study,
    StudyCreated,
    StudyFull,
    StudyPause,
    StudyPerParticipant,
    StudySummary,
    StudyTranscripts,
)
from understudy.envelopes.webhooks import (
    Replayed,
    Webhook,
    WebhookCreated,
    WebhookDeleted,
    WebhookDelivery,
    WebhookMessage,
)
from understudy.mcp.schemas import input_schema
from understudy.operations.tools import TOOLS
from understudy.settings import Settings

FOLDER = ROOT / "docs" / "schemas"
PROMISED = FOLDER / "v1"
ROUTES = "openapi"
TOOLS_FILE = "mcp"
EVENTS = "events"

_MODELS: tuple[Any, ...] = (
    *(ErrorBody, CancelEnvelope, Deleted, EventData, EventTicket, docs.Doc, journeys.Journey),
    *(Study, StudyPause, StudyCreated, StudySummary, StudyFull, StudyPerParticipant, StudyTranscripts, Iteration),
    *(Person, People, Panel, Participant, Interaction, Transcript),
    *(asks.Ask, asks.AskSummary, asks.AskPerParticipant, asks.AskFull),
    *(Webhook, WebhookCreated, WebhookDeleted, Replayed, WebhookMessage),
)
_PAGES: tuple[Any, ...] = (Study, Person, Participant, Interaction, asks.Ask, Webhook, WebhookDelivery)
ANSWERS: dict[str, Any] = {model.__name__: model for model in _MODELS}
ANSWERS |= {f"{item.__name__}Page": Page[item] for item in _PAGES}
ANSWERS |= {"DocPage": Page[docs.DocEntry], "RunStudyResponse": RunStudyResponse}


def answers() -> dict[str, Schema]:
    """Returns the current schema of every answer."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        | TypeAdapter(model).json_schema(mode="serialization")
        for name, model in ANSWERS.items()
    }


def routes() -> Schema:
    """Returns /openapi.json with default settings."""
    with tempfile.TemporaryDirectory() as folder:
        return create_app(Settings(data_dir=Path(folder))).openapi()


def _any_of(models: tuple[Any, ...]) -> TypeAdapter[Any]:
    return TypeAdapter(reduce(or_, models))


def tools() -> Schema:
    """Returns arguments and answers of each tool of the MCP server."""
    return {
        tool.name: {
            "takes": input_schema(tool, Settings()),
            "answers": {"type": "object"} | _any_of(tool.answers).json_schema(mode="serialization"),
        }
        for tool in TOOLS
    }


def current() -> dict[str, Schema]:
    """Returns the current state of all promised parts by file name."""
    events = TypeAdapter(EventData).json_schema(mode="serialization")
    return {ROUTES: routes(), TOOLS_FILE: tools(), EVENTS: events}


def promised() -> dict[str, Schema]:
    """Returns the promises by file name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(PROMISED.glob("*.json"))}


def broken(was: dict[str, Schema], now: dict[str, Schema]) -> list[str]:
    """Returns a message for each broken promise."""
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
        # As in REST, the argument `view` may select new kinds of answers.
        has_views = "view" in was[name]["takes"]["properties"]
        answers = was[name]["answers"], now[name]["answers"]
        found += [f"tool {name}: {one}" for one in response_changes(*answers, has_views=has_views)]
    return found


def as_text(schema: Schema) -> str:
    """Returns the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main(options: list[str]) -> int:
    """Returns the exit code: 1 if a promise would be broken; then it writes nothing."""
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
    """Returns the schema without unpromised keys. `names`: the keys are field names and stay."""
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
