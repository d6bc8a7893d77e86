"""Reading participants for those who wait for them."""

from uuid import uuid4

from tests.factories import make_participants, make_study, make_workspace
from understudy.domain.errors import NotFound, ValidationError
from understudy.store import lifecycle, participants
from understudy.store.engine import Store


def test_who_waits_reads_who_is_done_and_who_is_not(store: Store) -> None:
    acme, other = (make_workspace(store, name).workspace_id for name in ("acme", "other"))
    study, (iteration,) = make_study(store, acme)
    ids = make_participants(store, acme, study, iteration, 7)
    done = [ids[5], ids[0]]
    store.write(lambda connection: lifecycle.cancel(connection, acme, done))
    with store.read() as connection:
        ended = participants.terminal_states(connection, ids)
        assert {(row.id, row.status) for row in ended} == {(id_, "cancelled") for id_ in done}
        assert participants.terminal_states(connection, ids[1:5]) == []
        left = list(reversed([*ids[1:5], ids[6]]))
        assert participants.non_terminal_ids(connection, acme, list(reversed(ids))) == left
        assert participants.non_terminal_ids(connection, other, ids) == []
        assert participants.non_terminal_ids(connection, acme, []) == []


def test_whom_many_name_is_found_for_each_of_them(store: Store) -> None:
    acme, other = (make_workspace(store, name).workspace_id for name in ("acme", "other"))
    study, (iteration,) = make_study(store, acme)
    ids = make_participants(store, acme, study, iteration, 4)
    study, (iteration,) = make_study(store, other)
    (foreign,) = make_participants(store, other, study, iteration, 1)
    with store.read() as connection:
        (rows,) = participants.resolve_by_request(connection, [(acme, [str(id_) for id_ in ids])])
        assert not isinstance(rows, Exception)
        a, b, c, d = rows
        assert [row.id for row in rows] == ids
        # By id, alias, twice; nobody; one who is not there, is another workspace's, or is no name at all.
        unknown = str(uuid4())
        asked = [
            [b.alias, str(a.id), str(b.id)],
            [],
            [c.alias, unknown],
            [str(foreign)],
            ["p-"],
            [d.alias] * 2,
        ]
        found = participants.resolve_by_request(
            connection, [*((acme, refs) for refs in asked), (other, [str(foreign)])]
        )
        states = participants.states_by_request(
            connection, [(acme, [ids[2], ids[0], foreign]), (other, [foreign, ids[1]]), (acme, ids)]
        )
    assert [[row.id for row in rows] for rows in states] == [[ids[2], ids[0]], [foreign], ids]
    (theirs,) = found.pop()
    assert theirs.id == foreign
    assert [found[0], found[1], found[5]] == [[b, a], [], [d]]
    assert [type(error) for error in found[2:5]] == [NotFound, NotFound, ValidationError]
    assert unknown in str(found[2])
    assert str(foreign) in str(found[3])
