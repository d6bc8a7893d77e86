"""Reading participants for those who wait for them."""

from shared.store import lifecycle, participants
from shared.store.engine import Store
from tests.factories import make_participants, make_study, make_workspace


def test_who_waits_reads_who_is_done_and_who_is_not(store: Store) -> None:
    acme, other = (make_workspace(store, name).workspace_id for name in ("acme", "other"))
    study, (iteration,) = make_study(store, acme)
    ids = make_participants(store, acme, study, iteration, 7)
    done = [ids[5], ids[0]]
    store.write(lambda connection: lifecycle.cancel(connection, acme, done))
    with store.read() as connection:
        ended = participants.finished(connection, ids)
        assert {(row.id, row.status) for row in ended} == {(id_, "cancelled") for id_ in done}
        assert participants.finished(connection, ids[1:5]) == []
        left = list(reversed([*ids[1:5], ids[6]]))
        assert participants.unfinished(connection, acme, list(reversed(ids))) == left
        assert participants.unfinished(connection, other, ids) == []
        assert participants.unfinished(connection, acme, []) == []
