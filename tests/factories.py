"""Rows for tests, made by the same functions that the API uses."""

from uuid import UUID, uuid4

from sqlalchemy import Connection

from understudy.domain.lifecycle import Status
from understudy.domain.people import generate_people
from understudy.store import asks, dispatch, leases, people, studies, workspaces
from understudy.store.engine import Store


def make_workspace(store: Store, name: str = "acme", number: int = 4) -> workspaces.NewToken:
    """A workspace with a token and so many people."""

    def make(connection: Connection) -> workspaces.NewToken:
        token = workspaces.create_token(connection, name)
        people.insert_people(connection, token.workspace_id, generate_people(number, 1))
        return token

    return store.write(make)


def make_study(
    store: Store,
    workspace_id: UUID,
    *,
    content: dict[str, object] | None = None,
    success: dict[str, str] | None = None,
    iterations: int = 1,
    **settings: object,
) -> tuple[UUID, list[UUID]]:
    """A study with iterations on the scripted environment; its id and theirs."""

    def make(connection: Connection) -> tuple[UUID, list[UUID]]:
        assignment = {"task": "Walk on"} | ({"success": success} if success else {})
        study_id = studies.insert_study(
            connection,
            workspace_id,
            name="Walk",
            modality="interactive",
            assignment=assignment,
            questions=[],
        )
        defaults = {"max_interactions": None, "mind": "scripted", "step_timeout_s": 60, "run_timeout_s": 3600}
        ids = [
            studies.insert_iteration(
                connection,
                workspace_id,
                study_id,
                content={"environment": "scripted"} | (content or {}),
                **(defaults | settings),
            )
            for _ in range(iterations)
        ]
        return study_id, ids

    return store.write(make)


def make_participants(
    store: Store,
    workspace_id: UUID,
    study_id: UUID,
    iteration_id: UUID,
    count: int = 1,
    *,
    max_interactions: int = 5,
    status: Status = Status.PENDING,
    person: UUID | None = None,
) -> list[UUID]:
    """Participants that nobody dispatched yet: of `person`, else the workspace's people in turn."""

    def make(connection: Connection) -> list[UUID]:
        everyone = [person] * 4 if person else people.sample_people(connection, workspace_id, 4, 0)
        return list(
            dispatch.insert_participants(
                connection,
                workspace_id,
                [everyone[index % 4] for index in range(count)],
                study_id=study_id,
                iteration_id=iteration_id,
                max_interactions=max_interactions,
                seed=1,
                status=status,
            )
        )

    return store.write(make)


def make_ask(
    store: Store, workspace_id: UUID, *, rounds: int = 2, each: int = 2, step_timeout_s: float = 60
) -> tuple[UUID, list[list[UUID]]]:
    """An ask with pending participants in every round; its id, and theirs by round."""

    def make(connection: Connection) -> tuple[UUID, list[list[UUID]]]:
        ask_id = asks.insert_ask(
            connection,
            workspace_id,
            question="Which one?",
            max_interactions=None,
            mind="heuristic",
            step_timeout_s=step_timeout_s,
            run_timeout_s=3600,
        )
        everyone = people.sample_people(connection, workspace_id, each, 0)
        ids = []
        for _ in range(rounds):
            number = asks.open_round(connection, ask_id)
            assert number is not None
            variants = ["This one.", "That one."]
            asks.insert_round(connection, ask_id, number, question="Which one?", variants=variants)
            made = dispatch.insert_participants(
                connection,
                workspace_id,
                everyone,
                ask_id=ask_id,
                round_number=number,
                max_interactions=5,
                seed=1,
            )
            ids.append(list(made))
        return ask_id, ids

    return store.write(make)


def make_lease(store: Store, ttl_s: float = 60) -> UUID:
    """The lease of a worker that lives for `ttl_s`."""
    id_ = uuid4()
    store.write(lambda connection: leases.create_lease(connection, id_, "test", ttl_s))
    return id_
