"""Runs the API process: one service with the interfaces REST and MCP."""

import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.routing import Route

from understudy import faults, gc_tuning
from understudy.admission.cors import install_cors
from understudy.admission.errors import install_error_handlers
from understudy.admission.middleware import AdmissionMiddleware
from understudy.admission.request_id import RequestIdMiddleware
from understudy.admission.request_metrics import RequestMetricsMiddleware
from understudy.admission.tracing import TracingMiddleware
from understudy.api.connections import bounded_connection
from understudy.mcp.lazy_app import LazyMcpApp
from understudy.mcp.message_check import check_message
from understudy.queue.celery.app import BROKER_READ_TIMEOUT_S, create_celery
from understudy.queue.notifications import Notifier
from understudy.queue.publisher import Publisher
from understudy.rest import events, health, metrics
from understudy.rest.openapi import install_openapi
from understudy.rest.routes import CHECKS, ERRORS, create_router
from understudy.service import Service
from understudy.service.call_limits import CallLimiter
from understudy.service.credentials import CredentialWatch
from understudy.service.events import EventHub
from understudy.service.health import Readiness
from understudy.service.storage_meter import StorageMeter
from understudy.service.waiters import WaiterRegistry
from understudy.settings import Settings
from understudy.store import Connection, participants
from understudy.store.engine import AnyRow, Store
from understudy.store.free_space import log_if_full
from understudy.telemetry import logs, traces
from understudy.telemetry.store_metrics import StoreMetrics

DESCRIPTION = """
Simulated people use a website, one interaction after another. **Cancel** stops pending and running
participants immediately; **extend** continues a terminal one from its last interaction, with new direction.

Every request to `/v1` carries `Authorization: Bearer TOKEN`; an event stream may carry a ticket instead.
`/mcp` offers the same operations as MCP tools.
"""

#: Clients disagree about the slash at the end.
MCP_PATHS = ("/mcp", "/mcp/")
#: Seconds that open requests may take to end at shutdown.
SHUTDOWN_GRACE_S = 3
#: Seconds for which an idle connection stays open: longer than load balancers and clients keep theirs, because a
#: request that is sent just when we close is lost.
KEEP_ALIVE_S = 75
#: Exit code when the address cannot be bound; the same as uvicorn's.
EXIT_BIND_FAILED = 3


def create_app(settings: Settings) -> FastAPI:
    """Returns the ASGI app; its lifespan owns its store and broker connections."""
    store = Store(settings.store_url, observer=StoreMetrics())
    log_if_full(store.url)
    celery = create_celery(settings.broker_url, read_timeout_s=BROKER_READ_TIMEOUT_S)
    publisher = Publisher(celery, store, settings.default_limits)

    def finished(ids: Sequence[UUID]) -> Mapping[UUID, AnyRow]:
        with store.read() as connection:
            return {row.id: row for row in participants.terminal_states(connection, ids)}

    def keyed_reader(
        read: Callable[[Connection, Sequence[Any]], Sequence[Any]],
    ) -> Callable[..., dict[Any, Any]]:
        def read_each(asked: Sequence[Any]) -> dict[Any, Any]:
            with store.read() as connection:
                return dict(zip(asked, read(connection, asked), strict=True))

        return read_each

    find, states = keyed_reader(participants.resolve_by_request), keyed_reader(participants.states_by_request)
    service = Service(
        settings,
        store,
        publisher,
        Notifier(settings.notifications_url),
        WaiterRegistry(settings.notifications_url, finished, find, states),
        Readiness(store, publisher, settings.default_limits),
        EventHub(store, settings.max_event_streams),
        CallLimiter(store),
        CredentialWatch(store),
    )

    mcp = LazyMcpApp(service)
    meter = StorageMeter(settings, store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.waiting.open()
        service.limits.open()
        meter.open()
        async with mcp.run():
            yield
        await service.credentials.close()
        await service.waiting.close()
        await service.events.close()
        await service.limits.close()
        await meter.close()
        await service.readiness.close()
        service.publisher.close()
        service.notifier.close()
        store.dispose()

    app = FastAPIOffline(
        title="Understudy",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        # A path with a trailing slash is an unknown route.
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.mcp = mcp
    install_error_handlers(app)
    app.include_router(health.router, responses={503: ERRORS[503]})
    app.include_router(metrics.router)
    app.include_router(events.router, responses=ERRORS, dependencies=CHECKS)
    # FastAPI would build each route of an included router again, at the first request.
    app.router.routes.extend(create_router().routes)
    app.router.routes.extend(Route(path, mcp, methods=["GET", "POST", "DELETE"]) for path in MCP_PATHS)
    app.add_middleware(AdmissionMiddleware, service=service, messages=dict.fromkeys(MCP_PATHS, check_message))
    app.add_middleware(RequestMetricsMiddleware)
    app.add_middleware(TracingMiddleware)
    app.add_middleware(RequestIdMiddleware)
    install_cors(app, settings)
    install_openapi(app, settings)
    return app


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves requests until SIGTERM or SIGINT; exits with EXIT_BIND_FAILED if it cannot listen."""
    faults.arm(settings.faults)
    logs.configure(settings, part="api")
    traces.configure(settings, "api")
    server = _Server(
        create_app(settings),
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        http=bounded_connection(settings.client_timeout_s, settings.max_connections),
        # A connection that becomes a WebSocket would escape the bounds, and nothing here speaks it.
        ws="none",
    )
    gc_tuning.freeze_gc_objects()
    # Ctrl-C is a normal way to end the server.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(EXIT_BIND_FAILED)


class _Server(uvicorn.Server):
    """Ends waits and streams at shutdown: waiting clients get an answer with `next_action`."""

    def __init__(self, app: FastAPI, **options: Any) -> None:
        super().__init__(uvicorn.Config(app, **options))
        self._service: Service = app.state.service
        self._mcp: LazyMcpApp = app.state.mcp

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.waiting.end_all_waits()
        self._service.events.close_streams()
        self._mcp.close_streams()
        await super().shutdown(sockets)
        # Here, because uvicorn re-raises the signal after `run`, which ends the process.
        traces.close()
