"""Two API processes behind nginx, with the file of `deploy/nginx`."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from mcp import Client

from tests.http_client import ApiClient
from tests.mcp_client import PROTOCOL_MODES, connect
from tests.servers import ROOT, serve_in_thread, wait_until
from understudy.api.app import create_app
from understudy.deploy.ports import free_port, is_healthy
from understudy.settings import Settings

NGINX = shutil.which("nginx") or str(ROOT / "build" / "nginx" / "usr" / "sbin" / "nginx")

pytestmark = [
    pytest.mark.skipif(not Path(NGINX).exists(), reason="needs nginx: make nginx"),
    pytest.mark.parametrize("store_url", ["sqlite"], indirect=True),
]


@contextmanager
def nginx(folder: Path, first: str, second: str) -> Iterator[str]:
    """Runs nginx in front of the two addresses; yields its own address."""
    site = (ROOT / "deploy" / "nginx" / "understudy.conf").read_text()
    port = free_port()
    site = site.replace("127.0.0.1:8000", first.removeprefix("http://"))
    site = site.replace("127.0.0.1:8001", second.removeprefix("http://")).replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ log_format upstream '$upstream_addr'; access_log {folder}/access.log upstream;\n{paths}{site}\n}}\n"
    )
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_healthy("127.0.0.1", port, "/healthz"))
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("era", PROTOCOL_MODES)
def test_the_calls_of_a_client_reach_the_process_of_its_session(
    acme: ApiClient, settings: Settings, tmp_path: Path, era: str
) -> None:
    async def scene(client: Client) -> list[bool]:
        return [(await client.call_tool("docs_get", {})).is_error for _ in range(60)]

    async def run() -> list[bool]:
        async with connect(acme, era) as client:
            return await scene(client)

    with ExitStack() as running:
        first, second = (running.enter_context(serve_in_thread(create_app(settings))) for _ in range(2))
        acme.api = running.enter_context(nginx(tmp_path, first, second))
        assert asyncio.run(run()) == [False] * 60


def test_a_token_stays_at_one_process_until_that_is_gone(acme: ApiClient, settings: Settings, tmp_path: Path) -> None:
    def ask(api: str, token: str) -> int:
        return httpx.get(f"{api}/v1/docs", headers={"Authorization": f"Bearer {token}"}).status_code

    def upstreams() -> list[str]:
        return (tmp_path / "access.log").read_text().splitlines()

    with ExitStack() as running:
        first = running.enter_context(serve_in_thread(create_app(settings)))
        with ExitStack() as leaving:
            second = leaving.enter_context(serve_in_thread(create_app(settings)))
            proxy = running.enter_context(nginx(tmp_path, first, second))
            assert {ask(proxy, f"token-{number}") for number in range(40)} == {401}
            wait_until(lambda: len(upstreams()) >= 41)
            assert set(upstreams()) == {first.removeprefix("http://"), second.removeprefix("http://")}
            begin = len(upstreams())
            assert {ask(proxy, acme.secret) for _ in range(10)} == {200}
            wait_until(lambda: len(upstreams()) >= begin + 10)
            assert len(set(upstreams()[begin:])) == 1
        assert ask(proxy, acme.secret) == 200
