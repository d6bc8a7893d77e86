"""A plain HTTP client with a workspace and its token."""

from typing import Any, Self
from uuid import UUID

import httpx

from tests.factories import make_workspace
from understudy.store.engine import Store


class ApiClient:
    """Creates a workspace with some people and sends its token in every request."""

    def __init__(self, store: Store, api: str, name: str, *, people: int = 4) -> None:
        made = make_workspace(store, name, people)
        self.workspace_id: UUID = made.workspace_id
        self.secret = made.secret
        self.api = api
        self.http = httpx.Client(
            base_url=api,
            headers={"Authorization": f"Bearer {made.secret}"},
            timeout=30,
            trust_env=False,
            # There is no https here; reading the certificates takes longer than most tests.
            verify=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params)

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.http.post(path, json=body)
