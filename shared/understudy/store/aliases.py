"""Giving out aliases, and finding what an id or alias names. Source: contract section 1."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, Table, or_, select

from understudy.domain.errors import NotFound
from understudy.domain.ids import MIN_DIGITS, Kind, alias_candidates, parse_ref
from understudy.store import bulk_parameters
from understudy.store.engine import AnyRow, chunks
from understudy.store.schema import Tables

TABLES: dict[Kind, Table] = {
    Kind.STUDY: Tables.study,
    Kind.ITERATION: Tables.iteration,
    Kind.PARTICIPANT: Tables.participant,
    Kind.ASK: Tables.ask,
    Kind.PERSON: Tables.person,
}


def assign_aliases(
    connection: Connection, workspace_id: UUID, kind: Kind, ids: Sequence[UUID]
) -> dict[UUID, str]:
    """The alias of each of `ids`, which are about to be inserted in this order by the same transaction.

    The shortest one that is free; the later of two grows. Who gives out aliases in a workspace at the same
    time takes turns, until the transaction ends.
    """
    workspace = Tables.workspace
    # Trying and beginning anew on a clash was measured: six who each made 300 got nowhere in 20 s.
    # Not a full row lock: inserts that only refer to the workspace need not wait.
    turn = select(workspace.c.id).where(workspace.c.id == workspace_id).with_for_update(key_share=True)
    connection.execute(turn)
    table = TABLES[kind]
    among = bulk_parameters.in_parameter(connection.dialect.name, table.c.alias)
    taken = select(table.c.alias).where(table.c.workspace_id == workspace_id, among)
    aliases: dict[UUID, str] = {}
    given: set[str] = set()
    waiting, digits = list(ids), MIN_DIGITS
    while waiting:
        candidates = list(dict.fromkeys(alias_candidates(kind, waiting, digits)))
        given.update(connection.scalars(taken, {bulk_parameters.IDS_PARAM: candidates}))
        clashing = []
        for id_, alias in zip(waiting, alias_candidates(kind, waiting, digits), strict=True):
            if alias in given:
                clashing.append(id_)
            else:
                given.add(alias)
                aliases[id_] = alias
        waiting, digits = clashing, digits + 1
    return {id_: aliases[id_] for id_ in ids}


def find(connection: Connection, workspace_id: UUID, kind: Kind, text: str, parameter: str) -> AnyRow:
    """The row that `text` names in this workspace.

    Raises ValidationError when `text` is malformed, NotFound when it names nothing here. A row of another
    workspace is answered exactly like one that does not exist.
    """
    table = TABLES[kind]
    ref = parse_ref(kind, text, parameter)
    named = table.c.id == ref.uuid if ref.uuid else table.c.alias == ref.alias
    row = connection.execute(select(table).where(table.c.workspace_id == workspace_id, named)).one_or_none()
    if row is None:
        raise not_found(kind, text)
    return row


def find_many(
    connection: Connection, workspace_id: UUID, kind: Kind, texts: Sequence[str], parameter: str
) -> list[AnyRow]:
    """`(id, alias)` of the rows that `texts` name in this workspace, in order, in a few statements.

    Raises ValidationError or NotFound for the first that is wrong, like `find`.
    """
    table = TABLES[kind]
    refs = [parse_ref(kind, text, parameter) for text in texts]
    by_key: dict[UUID | str, AnyRow] = {}
    for chunk in chunks(refs):
        named = or_(
            table.c.id.in_([ref.uuid for ref in chunk if ref.uuid]),
            table.c.alias.in_([ref.alias for ref in chunk if ref.alias]),
        )
        rows = select(table.c.id, table.c.alias).where(table.c.workspace_id == workspace_id, named)
        for row in connection.execute(rows):
            by_key |= {row.id: row, row.alias: row}
    found = []
    for ref, text in zip(refs, texts, strict=True):
        key = ref.uuid or ref.alias or ""
        if key not in by_key:
            raise not_found(kind, text)
        found.append(by_key[key])
    return found


def not_found(kind: Kind, text: str) -> NotFound:
    """The one wording for what is not there."""
    noun = kind.name.lower()
    plural = {Kind.PERSON: "people", Kind.STUDY: "studies"}.get(kind, noun + "s")
    return NotFound(
        f"There is no {noun} {text} in this workspace.",
        suggestions=(f"List the {plural} to see which there are.",),
    )
