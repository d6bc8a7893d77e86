"""Host headers, and pages of other origins."""

from collections.abc import Iterator

from tests.attack.attack import Answer, Attack
from tests.attack.target import ORIGIN, Target

_EVIL = "evil.example"
_HOSTS = (
    {"Host": _EVIL},
    {"Host": f"127.0.0.1@{_EVIL}"},
    {"Host": f"127.0.0.1\t{_EVIL}"},
    {"X-Forwarded-Host": _EVIL},
    {"Forwarded": f"host={_EVIL};proto=https"},
    {"X-Forwarded-For": _EVIL, "X-Forwarded-Proto": _EVIL, "X-Forwarded-Port": _EVIL},
    {"Referer": f"https://{_EVIL}/"},
)


def _hosts(target: Target) -> Iterator[Answer]:
    calls = [
        ("GET", path, None) for path in ("/v1/people", "/v1/nothing", "/openapi.json", "/docs", "/healthz", "/v1/docs")
    ]
    calls += [("POST", "/v1/people", {"generate": 1}), ("POST", "/v1/events/tickets", {"study_id": target.mine.study})]
    calls += [("GET", "/v1/people/", None), ("GET", "/v1/people?limit=1", None)]
    for headers in _HOSTS:
        for method, path, body in calls:
            answer = target.request(method, path, json=body, headers=headers)
            told = _EVIL in answer.text or _EVIL in str(answer.headers)
            came = f"{answer.status_code}{' repeats the host' if told else ''}"
            yield Answer(f"{method} {path} {headers}", came, answer.status_code < 500 and not told)


_ORIGINS = (
    *("*", "null", f"https://{_EVIL}", "http://app.example", f"{ORIGIN}.evil.example", f"{ORIGIN}:8443", f"{ORIGIN}/"),
    *(
        "https://evilapp.example",
        "https://app.example@evil.example",
        "HTTPS://APP.EXAMPLE",
        "file://",
        "",
        f"{ORIGIN}, null",
    ),
)


def _origins(target: Target) -> Iterator[Answer]:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin in _ORIGINS:
        for method, path, headers in (
            ("OPTIONS", "/v1/people", asked),
            ("OPTIONS", "/mcp", asked),
            ("GET", "/v1/people", {}),
            ("GET", "/v1/nothing", {}),
            ("POST", "/mcp", {}),
        ):
            answer = target.request(method, path, headers=headers | {"Origin": origin})
            told = [name for name in answer.headers if name.startswith("access-control-allow-origin")]
            came = f"{answer.status_code} {told}"
            yield Answer(f"{method} {path} Origin: {origin}", came, not told and answer.status_code < 500)


ATTACKS = [
    Attack("host header", "no answer repeats it", _hosts, writes=True),
    Attack("page of another origin", "no Access-Control-Allow-Origin", _origins),
]
