"""Drivers: do the steps of a case in our environment and in Chromium, and return what is sent."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Error, Locator, Page, sync_playwright

from tests import chromium
from tests.web_suite.cases import Case
from tests.web_suite.echo_server import EchoServer
from tests.web_suite.offline import action_of, labels_of, step_of
from tests.web_suite.payloads import Payload
from understudy.environments.web import WebEnvironment

#: Chromium has sent the request by then, if it sends one.
_SENT_S = 0.4
_ACTION_MS = 2_000
_ATTEMPTS = 60
_PAUSE_MS = 100


def sent_by_environment(case: Case, server: EchoServer) -> Payload | None:
    """Returns what the web environment sends."""
    server.serve(case)
    asyncio.run(_act(case, server))
    return server.sent


async def _act(case: Case, server: EchoServer) -> None:
    environment = WebEnvironment({"url": server.page_url}, allow_private_hosts=True)
    try:
        await environment.open()
        elements = environment.observe().elements
        labels = labels_of((element.label, element.number) for element in elements)
        for step in case.steps:
            await environment.act(action_of(step, labels))
            if server.sent:
                return
    finally:
        await environment.close()


class Browser:
    """Chromium without scripts, which our environment does not run either."""

    def __init__(self, page: Page, version: str) -> None:
        self._page = page
        self.version = version

    def sent(self, case: Case, server: EchoServer) -> Payload | None:
        """Returns what Chromium sends."""
        server.serve(case)
        page = self._page
        self._open(server.page_url)
        for step in case.steps:
            try:
                self._do(page, step)
            except Error as error:
                print(f"  {case.name}: {step}: {str(error).splitlines()[0]}")
        server.arrived.wait(_SENT_S)
        return server.sent

    def _open(self, url: str) -> None:
        """Opens the page; the answer to the last form may still arrive, and interrupts it."""
        for _ in range(_ATTEMPTS):
            try:
                self._page.goto(url)
            except Error:
                self._page.wait_for_timeout(_PAUSE_MS)
            else:
                return
        raise RuntimeError(f"Chromium does not open {url}")

    def _do(self, page: Page, step: str) -> None:
        kind, target, value = step_of(step)
        field = page.locator(f'[aria-label="{target}"]').first
        match kind:
            case "fill":
                field.fill(value or "", timeout=_ACTION_MS)
            case "choose" if field.count():
                self._choose(field, value or "")
            case "choose":
                page.locator(f'[name="{target}"][aria-label="{value}"]').check(timeout=_ACTION_MS)
            case "check" | "uncheck":
                field.set_checked(kind == "check", timeout=_ACTION_MS)
            case "press":
                field.click(timeout=_ACTION_MS, no_wait_after=True, force=True)
            case "enter":
                field.press("Enter", timeout=_ACTION_MS, no_wait_after=True)

    def _choose(self, field: Locator, label: str) -> None:
        chosen = field.evaluate("select => select.multiple ? [...select.selectedOptions].map(o => o.label) : []")
        field.select_option(label=[*chosen, label], timeout=_ACTION_MS)


@contextmanager
def browser() -> Iterator[Browser]:
    """Starts Chromium, and ends it."""
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(
            executable_path=chromium.find_chromium(), args=chromium.ARGUMENTS, env=chromium.environment()
        )
        try:
            context = program.new_context(java_script_enabled=False)
            page = context.new_page()
            page.set_default_timeout(_ACTION_MS)
            yield Browser(page, program.version)
        finally:
            program.close()
