"""The Celery app of tools: it neither starts workers nor sends messages.

Relies on `Celery.send_task`, with which Flower and the `celery` command send all messages: both read it before they
call it.
"""

import sys
from typing import Any, NoReturn, cast

from celery import Celery
from click import ClickException

_NO_SENDING = (
    "Messages cannot be sent by hand: the store decides which participants run. Start them with "
    "`understudy run`, stop them with `understudy cancel`, continue them with `understudy extend`."
)


class ToolApp(Celery):  # type: ignore[misc]
    """Refuses `celery call`, and what Flower sends for `apply`, `async-apply` and `send-task`."""

    @property
    def send_task(self) -> NoReturn:
        """Refuses to send: with an answer 403 in Flower, with an error message in the `celery` command."""
        raise _refusal()


def _refusal() -> Exception:
    """Returns the error for both: click's, and Flower's own kind if Flower is installed."""
    web: Any = sys.modules.get("tornado.web")
    if web is None:
        return ClickException(_NO_SENDING)
    refused: Any = type("SendingRefused", (web.HTTPError, ClickException), {})
    error = refused(403, _NO_SENDING)
    ClickException.__init__(error, _NO_SENDING)
    # Tornado would insert them into the text.
    error.args = ()
    return cast("Exception", error)


def remove_tasks(app: Celery) -> None:
    """Removes Celery's own tasks from `app`, so that no tool offers them."""
    app.finalize()
    app.tasks.clear()
