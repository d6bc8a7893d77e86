"""Serves the demo shop and the demo chatbot until Ctrl-C."""

import asyncio
import contextlib
import logging
import sys

import uvicorn
from fastapi import FastAPI

#: Seconds that requests may still take after Ctrl-C.
SHUTDOWN_GRACE_S = 1


def serve(app: FastAPI, port: int) -> None:
    """Serves `app` on loopback until SIGINT or SIGTERM; exits with 1 if it cannot listen."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        access_log=False,
        # Neither has work at its start or end; the end would be reported as cancelled.
        lifespan="off",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    # After the configuration, which replaces the loggers.
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancelled_request)
    server = uvicorn.Server(config)
    # Ctrl-C is the normal way to end it.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


def _is_no_cancelled_request(record: logging.LogRecord) -> bool:
    """Returns False for the error of a request that the end of the server cancels."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
