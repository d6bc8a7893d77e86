"""The broker's channel of a worker, with a real broker."""

from collections.abc import Iterator

import pytest
from kombu import Connection, Exchange, Message, Queue
from kombu.transport import redis

from understudy.queue.celery import channel


class Ear:
    """Consumes a queue and a broadcast; takes from the queue only while `may`."""

    def __init__(self, url: str) -> None:
        self.may = True
        self.heard: list[str] = []
        channel.install_channel(lambda: self.may)
        self._connection = Connection(url)
        self._news = Exchange("news", "fanout", durable=False)
        queues = {"work": Queue("work"), "news": Queue("news", self._news)}
        for queue in queues.values():
            # A channel each, as Celery has one for its queues and one for its broadcasts.
            consumer = self._connection.Consumer(queue, channel=self._connection.channel(), callbacks=[self._hear])
            consumer.qos(prefetch_count=10)
            consumer.consume()

    def _hear(self, body: str, message: object) -> None:
        message.ack()  # type: ignore[attr-defined]
        self.heard.append(body)

    def listen(self, for_s: float) -> list[str]:
        """What is heard within so many seconds of quiet."""
        self.heard.clear()
        try:
            while True:
                self._connection.drain_events(timeout=for_s)
        except TimeoutError:
            return list(self.heard)

    def send(self, to: str, body: str) -> None:
        with Connection(self._connection.as_uri(include_password=True)) as connection:
            producer = connection.Producer()
            if to == "news":
                producer.publish(body, exchange=self._news, declare=[self._news])
            else:
                producer.publish(body, routing_key=to)

    def close(self) -> None:
        self._connection.release()


@pytest.fixture
def ear(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    monkeypatch.setattr(redis.Transport, "Channel", channel.Channel)
    monkeypatch.setattr(channel._QoS, "is_consuming", staticmethod(lambda: True))
    ear = Ear(redis_url)
    yield ear
    ear.close()


def test_who_may_not_act_on_messages_leaves_them_in_the_queue_and_still_hears_broadcasts(ear: Ear) -> None:
    ear.send("work", "one")
    assert ear.listen(1.5) == ["one"]
    ear.may = False
    # What was asked for already is still taken.
    assert ear.listen(1.5) == []
    ear.send("work", "two")
    ear.send("news", "stop")
    assert ear.listen(1.5) == ["stop"]
    ear.may = True
    assert ear.listen(1.5) == ["two"]


def test_what_waits_comes_along_the_most_urgent_first_while_there_is_room(ear: Ear, redis_url: str) -> None:
    heard: list[tuple[str, Message]] = []
    with Connection(redis_url, transport_options={"queue_order_strategy": "priority"}) as connection:
        soon, later = Queue("soon"), Queue("later")
        for queue in (later, soon):
            for number in range(4):
                connection.Producer().publish(f"{queue.name} {number}", routing_key=queue.name)
        consumer = connection.Consumer(
            [soon, later], channel=connection.channel(), callbacks=[lambda body, message: heard.append((body, message))]
        )
        consumer.qos(prefetch_count=3)
        consumer.consume()

        def turn() -> list[str]:
            before = len(heard)
            connection.drain_events(timeout=5)
            return [body for body, _ in heard[before:]]

        assert turn() == ["soon 0", "soon 1", "soon 2"]
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.5)
        for _, message in heard[:3]:
            message.ack()
        assert turn() == ["soon 3", "later 0", "later 1"]
        heard[3][1].ack()
        assert turn() == ["later 2"]
        # Whoever may not act on them any more takes what was asked for, and nothing else.
        for _, message in heard[4:]:
            message.ack()
        connection.Producer().publish("later 4", routing_key=later.name)
        ear.may = False
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.5)
