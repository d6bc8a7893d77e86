"""Participants, dispatched by HTTP and looked at from outside."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from tests.http_client import ApiClient
from understudy.domain.lifecycle import TERMINAL
from understudy.store.engine import Store
from understudy.store.schema import Tables

_p = Tables.participant


def dispatch_participants(acme: ApiClient, study: UUID, count: int, **options: Any) -> list[str]:
    """Dispatch `count` participants of one study, four at a time: as many people as there are."""
    ids: list[str] = []
    while len(ids) < count:
        body = {"sample": min(4, count - len(ids)), "max_interactions": 5} | options
        answer = acme.post(f"/v1/studies/{study}/run", body)
        assert answer.status_code == 202, answer.text
        ids += answer.json()["dispatch"]["participant_ids"]
    return ids


def counts(store: Store) -> dict[str, int]:
    """How many there are in each status."""
    with store.read() as connection:
        rows = connection.execute(select(_p.c.status, func.count()).group_by(_p.c.status))
        return {row[0]: row[1] for row in rows}


def load_rows(store: Store, study: UUID | None = None) -> list[Any]:
    """All of them, or those of one study."""
    with store.read() as connection:
        return list(connection.execute(select(_p).where(_p.c.study_id == study if study else True)))


def all_terminal(store: Store) -> bool:
    """Is everybody terminal?"""
    return set(counts(store)) <= TERMINAL
