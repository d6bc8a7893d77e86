"""The mailbox of a worker for remote-control commands."""

import re
from typing import Any

from kombu.matcher import MatcherRegistry
from kombu.pidbox import Node

from understudy.queue.celery.foreign_messages import ForeignMessage, check_command, drop_message


class CheckedNode(Node):  # type: ignore[misc]
    """Drops foreign broadcasts; Celery would subscribe again after each of them and lose others meanwhile."""

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Runs the command, or drops it if it is foreign."""
        try:
            check_command(body, message.headers, self.handlers)
            return super().handle_message(body, message)
        except (ForeignMessage, re.error, MatcherRegistry.MatcherNotInstalled) as error:
            drop_message("broadcast", self.mailbox.exchange.name, error)
            return None
