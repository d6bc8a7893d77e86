"""Builds the REST routes from the definitions of the operations. Source: contract sections 6 and 7."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Depends, HTTPException, Path, Request, Response
from fastapi.security import HTTPBearer

from understudy.admission.errors import ClientDisconnected
from understudy.admission.performing import perform
from understudy.domain.errors import ERROR_RULES
from understudy.envelopes.base import Envelope
from understudy.envelopes.errors import ErrorBody
from understudy.envelopes.people import Panel
from understudy.envelopes.simulations import Dispatch, RunFailure, RunStudyResponse
from understudy.operations.operation import KINDS, Operation, forms_of, path_type
from understudy.operations.registry import OPERATIONS
from understudy.operations.requests import MAX_ID_LENGTH
from understudy.rest.inputs import IdempotencyKey, TheService, Workspace
from understudy.rest.query import check_query, parse_query, query_parameters
from understudy.service.call import Call
from understudy.service.panels import write_csv

Result = TypeVar("Result")

_JSON = "application/json"
#: Errors of every route.
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorBody} for code in (400, 401, 403, 404, 413, 422, 429, 500, 503)
}
#: AdmissionMiddleware checks the token; HTTPBearer only declares it in the API docs.
CHECKS = (Depends(HTTPBearer(auto_error=False)), Depends(check_query))
#: Answers of a dispatch besides its usual status; all failures have the same form.
_FAILURES: dict[int | str, dict[str, Any]] = {
    code: {"model": RunFailure} for code in (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
}
#: Further media types of an answer, by the value of `format`.
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@cache
def create_router() -> APIRouter:
    """Returns the cached routes of all operations; do not modify them."""
    router = APIRouter(responses=ERRORS, dependencies=CHECKS)
    for operation in OPERATIONS.values():
        router.add_api_route(
            operation.path,
            _endpoint(operation),
            methods=[operation.method],
            operation_id=operation.name,
            summary=operation.title,
            description=operation.documentation,
            tags=[operation.tags[0]],
            status_code=usual_status(operation),
            response_model=operation.answer,
            responses=_responses(operation),
        )
    return router


def usual_status(operation: Operation) -> int:
    """Returns the status of a success: that of a dispatch without a wait."""
    if operation.starts:
        return 202 if operation.dispatches else 201
    return 200


def _responses(operation: Operation) -> dict[int | str, dict[str, Any]]:
    if operation.dispatches:
        other = 200 if operation.starts else 202
        return {other: {"model": RunStudyResponse}, **_FAILURES}
    if operation.starts:
        return {403: {"model": ErrorBody}, 409: {"model": ErrorBody}}
    if operation.method == "DELETE":
        return {409: {"model": ErrorBody}}
    return _CSV if operation.answer is Panel else {}


def _endpoint(operation: Operation) -> Callable[..., Any]:
    """Returns the endpoint; FastAPI reads its parameters from the signature."""

    async def endpoint(
        request: Request,
        service: TheService,
        workspace: Workspace,
        body: Any = None,
        idempotency_key: str | None = None,
        **given: Any,
    ) -> Response:
        path = {name: given.pop(name) for name in operation.path_parameters}
        if "" in path.values():
            # A trailing slash makes an unknown route.
            raise HTTPException(404)
        parsed = body or parse_query(operation, given)
        bound = operation.bind(parsed, path)
        call = Call(service, workspace, idempotency_key, request.state.role, request.state.credential)
        return await perform(call, operation, bound, partial(_hold, request), partial(_render, operation, bound))

    endpoint.__signature__ = inspect.Signature(list(_parameters(operation)))  # type: ignore[attr-defined]
    return endpoint


def _parameters(operation: Operation) -> list[inspect.Parameter]:
    def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    parameters = [
        parameter("request", Request),
        parameter("service", TheService),
        parameter("workspace", Workspace),
        *(parameter(name, _in_path(name)) for name in operation.path_parameters),
    ]
    if not operation.has_body:
        parameters += query_parameters(operation)
    else:
        required = any(
            field.is_required() for form in forms_of(operation.request) for field in form.model_fields.values()
        )
        examples: Any = {operation.name: {"value": dict(operation.example)}} if operation.example else None
        annotation = operation.request if required else operation.request | None
        empty = inspect.Parameter.empty if required else None
        parameters.append(parameter("body", Annotated[annotation, Body(openapi_examples=examples)], empty))
    if operation.starts:
        parameters.append(parameter("idempotency_key", IdempotencyKey, None))
    return parameters


def _in_path(name: str) -> Any:
    if name not in KINDS:
        return Annotated[path_type(name), Path(examples=["concepts/overview"])]
    example = f"{KINDS[name]}-1f3"
    return Annotated[path_type(name), Path(max_length=MAX_ID_LENGTH, examples=[example])]


def _render(operation: Operation, request: Any, answer: Envelope) -> Response:
    if isinstance(answer, Panel) and request.format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="people.csv"'}
        return Response(write_csv(answer.people), media_type="text/csv", headers=headers)
    status = usual_status(operation)
    if isinstance(answer, RunFailure):
        status = ERROR_RULES[answer.error_code].http_status
    elif operation.dispatches and getattr(request, "wait", True):
        status = 200
    content = answer.model_dump_json()
    return Response(content, status, media_type=_JSON, headers=_location(operation, answer))


def _location(operation: Operation, answer: Envelope) -> Mapping[str, str] | None:
    if not operation.location:
        return None
    try:
        return {"Location": operation.location.format_map(dict(answer))}
    except KeyError:
        # Several objects were created.
        return {"Location": operation.path}


async def _hold(request: Request, _: Dispatch, work: Awaitable[Result]) -> Result:
    """Returns the result of `work`. A disconnect cancels `work` and raises ClientDisconnected."""
    working = asyncio.ensure_future(work)
    disconnecting = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnected
        return working.result()
    finally:
        working.cancel()
        disconnecting.cancel()


async def _disconnected(request: Request) -> None:
    # The body has been read: the only message left is the disconnect.
    while (await request.receive())["type"] != "http.disconnect":
        pass
