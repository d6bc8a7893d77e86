"""Positions of event streams and cursors of lists that were never given, and more streams than are allowed."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack

from tests.attack.attack import Answer, Attack
from tests.attack.target import Target
from tests.event_client import open_stream

_POSITIONS = ("-1", "1.0", "1e3", "0x1", "\u0661", "9" * 5_000, str(2**63), "999999", "1 OR 1=1", "1,2", "null")
STREAMS = 300


def _positions(target: Target) -> Iterator[Answer]:
    scope = {"study_id": target.mine.study, "follow": "false"}
    for position in _POSITIONS:
        answer = target.request("GET", "/v1/events", params=scope | {"last_event_id": position})
        yield Answer(f"last_event_id={position[:12]}", f"{answer.status_code}", answer.status_code == 422)
        answer = target.request("GET", "/v1/events", params=scope, headers={"Last-Event-ID": position.encode()})
        yield Answer(f"Last-Event-ID: {position[:12]}", f"{answer.status_code}", answer.status_code == 422)


def _cursors(target: Target) -> Iterator[Answer]:
    for path in ("/v1/people", "/v1/participants", "/v1/studies", "/v1/webhooks"):
        given = target.rival.get(path, limit=1).json()["next_cursor"] or ""
        made = [json.dumps(value) for value in (None, [], {}, [0], {"id": target.theirs.person}, ["' OR 1=1"], 1e308)]
        encoded = [base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in made]
        other = target.request("GET", "/v1/asks" if path == "/v1/people" else "/v1/people", params={"limit": 1})
        for cursor in (
            given,
            other.json()["next_cursor"],
            *encoded,
            "x",
            "=",
            "\0",
            "../..",
            "a" * 5_000,
            "\U0001f408",
        ):
            if cursor:
                answer = target.request("GET", path, params={"cursor": cursor})
                told = target.theirs.person in answer.text
                yield Answer(
                    f"GET {path}?cursor={cursor[:20]}", f"{answer.status_code}", answer.status_code == 422 and not told
                )


def _streams(target: Target) -> Iterator[Answer]:
    with ExitStack() as opened:
        came: list[int] = []
        for _ in range(STREAMS):
            connection = opened.enter_context(target.connect())
            connection.sendall(target.head(f"GET /v1/events?study_id={target.mine.study} HTTP/1.1"))
            came.append(int(connection.recv(4_096).split()[1]))
        counted = {status: came.count(status) for status in sorted(set(came))}
        yield Answer(f"{STREAMS} streams of one token", f"{counted}", set(counted) <= {200, 429} and 429 in counted)
        with open_stream(target.rival, study_id=target.theirs.study):
            yield Answer("a stream of another workspace", "opens", holds=True)


ATTACKS = [
    Attack("event position", "422", _positions),
    Attack("list cursor", "422", _cursors),
    Attack("300 streams of one token", "429; others open theirs", _streams, is_quick=False),
]
