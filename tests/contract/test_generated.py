"""Files generated from the operations are up to date; routes, tools and the OpenAPI document are complete."""

import pytest
from openapi_spec_validator import validate

from tests import clients, schemas
from understudy.operations.registry import OPERATIONS
from understudy.operations.tools import TOOLS
from understudy.service.handlers import ASYNC_HANDLERS, HANDLERS

FILES = {
    "client/methods.py": clients.methods,
    "cli/generated_options.py": clients.options,
    **{
        f"client/{twin}.py": (lambda module=module: clients.asynchronous(module))
        for module, twin in clients.TWINS.items()
    },
}


@pytest.mark.parametrize("file", FILES)
def test_a_generated_file_is_up_to_date(file: str) -> None:
    assert (clients.FOLDER.parent / file).read_text() == FILES[file](), "run `make clients`"


def test_every_operation_has_a_handler_and_every_handler_an_operation() -> None:
    assert {*HANDLERS, *ASYNC_HANDLERS} == OPERATIONS.keys()


def test_every_tool_has_operations_that_are_registered() -> None:
    used = {one.name for tool in TOOLS for one in (tool.operation, *tool.views.values(), *filter(None, [tool.list]))}
    assert used <= OPERATIONS.keys()
    # Exports, pauses, deletions and webhooks are for REST and the command line.
    others = {name for name, one in OPERATIONS.items() if not one.route_of} - used
    assert {name for name in others if not name.startswith("webhook_")} == {
        *("person_export", "study_pause", "study_resume", "study_delete", "ask_delete", "person_delete"),
    }


def test_the_openapi_document_is_valid_and_complete() -> None:
    document = schemas.routes()
    validate(document)
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert {one["operationId"] for one in operations} == {*OPERATIONS, "events", "event_ticket", "health", "readiness"}
    tags = {tag["name"] for tag in document["tags"]}
    assert {tag for one in operations for tag in one["tags"]} <= tags
    silent = {one["operationId"] for one in operations if "example" not in str(one)}
    assert silent == {"health", "readiness"}
    bodies = [one["requestBody"]["content"]["application/json"] for one in operations if "requestBody" in one]
    assert [body for body in bodies if "examples" not in body and "EmptyRequest" not in str(body)] == []


def test_an_example_of_an_operation_is_a_valid_request() -> None:
    ids = {"study_id": "s-b2c", "ask_id": "a-77e", "person_id": "tp-9ab", "participant_id": "t-1f3", "slug": "a/b"}
    ids |= {"webhook_id": "wh-77e"}
    for operation in OPERATIONS.values():
        path = {name: ids[name] for name in operation.path_parameters}
        operation.arguments.validate_python(dict(operation.example) | path)
