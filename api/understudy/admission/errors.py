"""Answers every error with its documented body, never with a traceback."""

import logging
import math
import re
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from understudy.domain.errors import NotFound, RateLimited, UnderstudyError, ValidationError
from understudy.envelopes.errors import ErrorBody
from understudy.operations.registry import OPERATIONS
from understudy.operations.validation_messages import MAX_NAME, format_problems
from understudy.service.response import failure

log = logging.getLogger(__name__)

_PARAMETER = re.compile(r"\{\w+(:path)?\}")


def _answers_run_response(method: str, path: str) -> bool:
    """Returns whether this request always answers a RunStudyResponse. Source: contract section 5."""
    return any(pattern.fullmatch(path) and method not in others for pattern, others in _RUN_RESPONSES)


#: Path of each operation that dispatches or waits, with the methods of other operations at this path.
_RUN_RESPONSES = [
    (
        re.compile(_PARAMETER.sub("[^/]+", operation.path)),
        {other.method for other in OPERATIONS.values() if other.path == operation.path and not other.dispatches},
    )
    for operation in OPERATIONS.values()
    if operation.dispatches
]
#: nginx's status for a request whose client disconnected.
_CLIENT_CLOSED_REQUEST = 499


#: Codes of JSON-RPC 2.0.
_PARSE_ERROR, _INVALID_REQUEST, _INTERNAL_ERROR = -32700, -32600, -32603


class ClientDisconnected(Exception):
    """The client disconnected while it waited; no answer is sent."""


def error_response(request: Request, error: UnderstudyError, http_status: int | None = None) -> JSONResponse:
    """Returns the body of `error` in the form that this path documents."""
    status = http_status or error.rule.http_status
    headers = {"WWW-Authenticate": "Bearer"} if error.code == "auth_failed" else None
    if isinstance(error, RateLimited):
        headers = {"Retry-After": str(math.ceil(error.retry_after_s))}
    if request.scope["path"].rstrip("/") == "/mcp":
        return JSONResponse(_json_rpc_error(error, status), status_code=status, headers=headers)
    if _answers_run_response(request.method, request.scope["path"]):
        body: Any = failure(error).model_dump(mode="json")
    else:
        body = _error_body(error)
    return JSONResponse(body, status_code=status, headers=headers)


def _error_body(error: UnderstudyError) -> dict[str, Any]:
    body = ErrorBody(
        error=str(error),
        error_code=error.code,
        retryable=error.rule.retryable,
        suggestions=list(error.suggestions),
    )
    return body.model_dump(mode="json")


def _json_rpc_error(error: UnderstudyError, status: int) -> dict[str, Any]:
    """Returns the error in the form of MCP, for a request that no tool has seen: clients parse nothing else."""
    codes = {400: _PARSE_ERROR, 500: _INTERNAL_ERROR, 503: _INTERNAL_ERROR}
    code = codes.get(status, _INVALID_REQUEST)
    return {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": error.text, "data": _error_body(error)}}


def install_error_handlers(app: FastAPI) -> None:
    """Makes `app` answer every error with its documented body."""

    @app.exception_handler(UnderstudyError)
    async def handle_known(request: Request, error: UnderstudyError) -> JSONResponse:
        return error_response(request, error)

    @app.exception_handler(ClientDisconnected)
    async def handle_disconnect(_request: Request, _error: ClientDisconnected) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(request, ValidationError(format_problems(error.errors(), skip=1)))

    @app.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> JSONResponse:
        operation = f"{request.method} {request.scope['path'][:MAX_NAME]}"
        if error.status_code == 405:
            not_allowed = NotFound(f"{operation}: method not allowed.")
            answer = error_response(request, not_allowed, http_status=405)
            answer.headers["Allow"] = ", ".join(_methods_of(request))
            return answer
        if error.status_code == 404:
            missing = NotFound(f"{operation}: no such route.", suggestions=("See /docs for all routes.",))
            return error_response(request, missing)
        kind = ValidationError if error.status_code < 500 else UnderstudyError
        return error_response(request, kind(str(error.detail)), http_status=error.status_code)

    @app.exception_handler(Exception)
    async def handle_unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return error_response(request, UnderstudyError("Internal error. Search the server log for the X-Request-ID."))


def _methods_of(request: Request) -> list[str]:
    """Returns the methods of this path; each route that shares the path knows only its own."""
    routes = (route for route in iter_route_contexts(request.app.routes) if route.methods)
    matching = [route for route in routes if route.path_regex.match(request.scope["path"])]
    # A fixed path, such as /v1/people/export, is no id.
    fixed = [route for route in matching if route.path == request.scope["path"]]
    matching = fixed or matching
    return sorted({method for route in matching for method in route.methods or ()})
