"""Takes run messages from RabbitMQ one by one: only while a slot is free, from the most urgent queue first."""

from collections.abc import Callable
from typing import Any

import amqp
from celery.worker import state
from kombu import Consumer

from understudy.domain.queues import QUEUE_PRIORITY

#: Seconds between two looks at the queues while slots are free.
POLL_S = 0.05
#: Maximum messages taken in one turn of the loop.
MAX_MESSAGES_PER_POLL = 16

_RANK = {str(queue): rank for rank, queue in enumerate(QUEUE_PRIORITY)}


class PolledConsumer(Consumer):  # type: ignore[misc]
    """Takes messages when `take` is called; RabbitMQ pushes none.

    RabbitMQ would push as many messages of each queue as the worker has slots, and they would wait beside
    another worker's free slot.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._is_open = False
        super().__init__(*args, **options)

    def consume(self, no_ack: bool | None = None) -> None:  # noqa: ARG002 - kombu's signature
        """Allows `take`."""
        self._is_open = True

    def cancel(self) -> None:
        """Makes `take` do nothing."""
        self._is_open = False

    close = cancel

    def consuming_from(self, queue: Any) -> bool:
        """Returns whether `take` looks at this queue."""
        return getattr(queue, "name", queue) in self._queues

    def take(self, count_free_slots: Callable[[], int]) -> int:
        """Takes messages until no slot is free; returns how many, at most MAX_MESSAGES_PER_POLL.

        Raises RecoverableConnectionError if RabbitMQ closes the channel.
        """
        taken = 0
        try:
            for name in sorted(self._queues, key=lambda name: _RANK.get(name, 0)):
                # A get writes to the log of a quorum queue even if it is empty; the size costs next to nothing.
                waiting = self._count_waiting(name) if self._has_room(taken, count_free_slots) else 0
                while waiting and self._has_room(taken, count_free_slots):
                    message = self.channel.basic_get(name)
                    if message is None:
                        break
                    waiting = message.delivery_info["message_count"]
                    taken += 1
                    self._receive_callback(message)
        except amqp.ChannelError as error:
            # Celery's loop reconnects only after errors of connections.
            raise amqp.RecoverableConnectionError(f"RabbitMQ closed the channel: {error}") from error
        return taken

    def _has_room(self, taken: int, count_free_slots: Callable[[], int]) -> bool:
        is_open = self._is_open and state.should_stop is None
        return is_open and taken < MAX_MESSAGES_PER_POLL and count_free_slots() > 0

    def _count_waiting(self, name: str) -> int:
        return int(self.channel.queue_declare(name, passive=True).message_count)
