"""Guessed and revoked tokens, tokens of a lesser role, and tickets used for something else."""

import base64
from collections.abc import Iterator
from functools import partial

from tests.attack.attack import Answer, Attack
from tests.attack.objects import call, places
from tests.attack.target import Target
from tests.contract.test_isolation import answer_without
from understudy.domain.roles import Role
from understudy.operations.registry import OPERATIONS
from understudy.store import workspaces


def _guesses(target: Target) -> Iterator[Answer]:
    secret = target.rival.secret
    revoked = target.store.write(lambda connection: workspaces.create_token(connection, "rival"))
    target.store.write(partial(workspaces.revoke_token, token_id=revoked.id))
    encoded = base64.b64encode(f"rival:{secret}".encode()).decode()
    bearers = [
        *(secret[:length] for length in range(1, len(secret), 4)),
        *(f"{secret[:-1]}{last}" for last in "abcXYZ019-_" if not secret.endswith(last)),
        *(f"{secret}{more}" for more in ("x", "=", ".", "%00", " x", ",")),
        *("null", "undefined", "*", "' OR 1=1 --", secret.swapcase(), revoked.secret, "a" * 8_000, f"Bearer {secret}"),
    ]
    no_bearers = ["", "Bearer", f"Basic {encoded}", f"Token {secret}", secret, f"Bearer{secret}", f"Digest {secret}"]
    for guesses in ([f"Bearer {guess}" for guess in bearers], no_bearers):
        answers = [(one, target.stranger("GET", "/v1/people", headers={"Authorization": one})) for one in guesses]
        expected = answer_without(answers[0][1], "-")
        for guess, answer in answers:
            holds = answer.status_code == 401 and answer_without(answer, "-") == expected
            yield Answer(f"Authorization: {guess}".replace(secret, "TOKEN"), f"{answer.status_code}", holds)
    for query in ("token", "access_token", "api_key", "ticket"):
        answer = target.stranger("GET", "/v1/people", params={query: secret})
        yield Answer(f"GET /v1/people?{query}=TOKEN", f"{answer.status_code}", answer.status_code == 401)


def _roles(target: Target) -> Iterator[Answer]:
    raising = {"X-Role": "admin", "X-User-Role": "admin", "X-Workspace": "rival", "Cookie": "role=admin"}
    for role in (Role.VIEWER, Role.EDITOR):
        headers = {"Authorization": f"Bearer {target.token(role)}"} | raising
        for operation in OPERATIONS.values():
            if role.may(operation.role):
                continue
            for name, kind in list(places(operation)) or [("", "")]:
                for world in (target.mine, target.theirs):
                    answer = call(target, operation, getattr(world, kind, ""), name, headers=headers)
                    came = f"{answer.status_code} {answer.text[:60]}"
                    yield Answer(f"{operation.name} {name} as {role}", came, answer.status_code == 403)


def _tickets(target: Target) -> Iterator[Answer]:
    ticket = target.request("POST", "/v1/events/tickets", json={"study_id": target.mine.study}).json()["ticket"]
    for operation in OPERATIONS.values():
        for headers, query in (({"Authorization": f"Bearer {ticket}"}, ""), ({}, ticket)):
            path = operation.path.partition("{")[0].rstrip("/")
            answer = target.stranger(operation.method, path, headers=headers, params={"ticket": query} if query else {})
            yield Answer(f"{operation.method} {path} with a ticket", f"{answer.status_code}", answer.status_code == 401)
    others = [
        {f"{kind}_id": getattr(world, kind)}
        for kind in ("study", "participant", "ask")
        for world in (target.mine, target.theirs)
        if (kind, world) != ("study", target.mine)
    ]
    for scope in others:
        answer = target.stranger("GET", "/v1/events", params={"ticket": ticket, "follow": "false"} | scope)
        yield Answer(f"GET /v1/events ticket {scope}", f"{answer.status_code}", answer.status_code in {401, 404})
    changed = (ticket[:-1], ticket + "A", ticket.swapcase(), ticket.replace(".s.", ".a."), f"{ticket},{ticket}")
    for forged in changed:
        answer = target.stranger("GET", "/v1/events", params={"ticket": forged, "follow": "false"})
        yield Answer("GET /v1/events with a changed ticket", f"{answer.status_code}", answer.status_code == 401)


ATTACKS = [
    Attack("guessed token", "401, the same answer each time", _guesses, writes=True),
    Attack("lesser role", "403 for own, foreign and unknown objects", _roles, writes=True),
    Attack("ticket for another object", "401, or 404 for a foreign object", _tickets),
]
