"""The page of the documentation shows live progress in a real browser, from another origin."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import pytest
from playwright.sync_api import Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from tests import chromium
from tests.contract.manual_worker import end, run_steps
from tests.factories import make_participants, make_study
from tests.http_client import ApiClient
from tests.servers import ROOT, serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.settings import Settings
from understudy.store import workspaces
from understudy.store.engine import Store

PAGE = ROOT / "docs" / "examples" / "live-progress.html"


class UserServer:
    """The server of a web app: it serves the page and gives it tickets."""

    def __init__(self, study: UUID) -> None:
        self.api = ""
        self.secret = ""
        self.tickets = 0
        self._study = study
        self.app = Starlette(
            routes=[
                Route("/page", lambda _: FileResponse(PAGE)),
                Route("/tickets", self._give_ticket, methods=["POST"]),
            ]
        )

    def _give_ticket(self, _: Request) -> JSONResponse:
        from understudy.client import Understudy

        self.tickets += 1
        with Understudy(self.api, self.secret) as understudy:
            return JSONResponse({"ticket": understudy.event_ticket(study_id=self._study).ticket})


@contextmanager
def open_page(address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.find_chromium(), args=chromium.ARGUMENTS, env=chromium.environment()
        )
        try:
            page = browser.new_page()
            page.goto(address)
            yield page
        finally:
            browser.close()


@pytest.mark.timeout(120)
@pytest.mark.skipif(chromium.find_chromium() is None, reason=chromium.SKIP_REASON)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_page_of_the_guide_shows_live_progress_from_another_origin(
    store: Store, settings: Settings, acme: ApiClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("understudy.service.credentials.CHECK_INTERVAL_S", 0.2)
    study, (iteration,) = make_study(store, acme.workspace_id)
    first, second = make_participants(store, acme.workspace_id, study, iteration, 2)
    user = UserServer(study)
    with serve_in_thread(user.app) as pages:
        # `localhost` is another origin than 127.0.0.1, where the API is.
        origin = pages.replace("127.0.0.1", "localhost")
        app = create_app(settings.model_copy(update={"cors_origins": origin}))
        with serve_in_thread(app) as api:
            user.api, user.secret = api, acme.secret
            address = f"{origin}/page?{urlencode({'server': api, 'tickets': '/tickets'})}"
            with open_page(address) as page:

                def shown(id_: UUID) -> str:
                    row = page.locator(f"[id='{id_}']")
                    return row.inner_text() if row.count() else ""

                def wait_for(id_: UUID, text: str) -> None:
                    wait_until(lambda: text in shown(id_), 30, f"{text} of {id_}: {page.inner_text('body')}")

                wait_for(first, "pending, 0 steps")
                held = run_steps(store, first, 2)
                wait_for(first, "running, 2 steps")
                end(store, held, "completed")
                wait_for(first, "completed, 2 steps")
                # The token is replaced: the stream ends, and the page goes on with a new ticket, from the last event.
                token = store.write(lambda connection: workspaces.create_token(connection, "acme"))
                with store.read() as connection:
                    old = [row.id for row in workspaces.list_tokens(connection) if row.id != token.id]
                user.secret = token.secret
                for id_ in old:
                    store.write(lambda connection, id_=id_: workspaces.revoke_token(connection, id_))
                wait_until(lambda: user.tickets > 1, 30, "the page gets another ticket")
                run_steps(store, second, 1)
                wait_for(second, "running, 1 steps")
                assert page.locator("li").count() == 2
        # An origin that is not listed may not read events.
        with serve_in_thread(create_app(settings)) as user.api:
            address = f"{origin}/page?{urlencode({'server': user.api, 'tickets': '/tickets'})}"
            before = user.tickets
            with open_page(address) as page:
                wait_until(lambda: page.locator("li").count() or user.tickets > before + 1, 30, "it tries again")
                assert page.locator("li").count() == 0
