"""Servers on loopback that count as inside and outside, and names that lead from one to the other."""

import threading
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PRIVATE_HOST = "127.0.0.9"
#: Names and their addresses.
NAMES = {"public.test": ["127.0.0.1"], "inside.test": [PRIVATE_HOST], "mixed.test": [PRIVATE_HOST, "127.0.0.1"]}
REBOUND = "rebound.test"


class Inside:
    """A server on a private address, or on another one, and the requests that it got."""

    def __init__(self, host: str = PRIVATE_HOST, port: int = 0) -> None:
        self.requests: list[str] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(f"{self.command} {self.path}")
                body = b"<title>Inside</title><a href='/again'>there</a>"
                # HTTP/1.0: the connection ends with the answer.
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - the name is http.server's

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Site:
    """A public site whose query says where it leads. It closes each connection: the next one is a new look-up."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body", False):
            pass
        self.headers.append({name.decode(): value.decode("latin-1") for name, value in scope["headers"]})
        to, way = scope["query_string"].decode(), scope["path"].strip("/")
        headers = [(b"content-type", b"text/html"), (b"connection", b"close")]
        if way.isdigit():
            headers.append((b"location", to.encode()))
        if way == "loop":
            headers.append((b"location", f"http://robin:h%40rd-pw@{to}/loop?{to}".encode()))
            way = "302"
        await send({"type": "http.response.start", "status": int(way) if way.isdigit() else 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._page(way, to).encode()})

    def _page(self, way: str, to: str) -> str:
        url = escape(to, quote=True)
        match way:
            case "refresh":
                return f'<meta http-equiv=refresh content="0; url={url}">'
            case "base":
                return f'<base href="{url}"><a href="x">there</a>'
            case "answer":
                return '{"reply": "Hello"}'
            case "hop":
                return f'<a href="/302?{url}">there</a>'
        return f"""<title>Public</title><a href="{url}">there</a>
            <form action="{url}"><input name=a><button>Get</button></form>
            <form action="{url}" method=post><input name=b><button>Post</button></form>
            <form><button formaction="{url}">Formaction</button></form>
            <form action="{url}"><select name=c aria-label=Pick onchange="this.form.submit()">
            <option>one<option>two</select></form>"""


class Names:
    """A resolver; a name of `REBOUND` is public at the first look-up, and private later."""

    def __init__(self, rebound: str = REBOUND) -> None:
        self.rebound = rebound
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        if host == self.rebound:
            self.asked += 1
            return ["127.0.0.1"] if self.asked == 1 else [PRIVATE_HOST]
        if host == "2130706441":
            return [PRIVATE_HOST]
        if host not in NAMES:
            raise OSError(f"{host} is unknown")
        return NAMES[host]
