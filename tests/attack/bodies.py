"""Bodies, paths and fields that are too large, too deep, or hold what no store keeps."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

from tests.attack.attack import Answer, Attack
from tests.attack.target import Target, statuses

_MIB = 2**20
_ROUTES = ("/v1/people", "/v1/simulations/cancel", "/v1/studies", "/mcp")


def refused(target: Target, name: str, path: str, body: Any, *expected: int, **fields: str) -> Answer:
    """Posts a body as it is: holds if the answer has one of these statuses and shows no inside."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"} | fields
    answer = target.request("POST", path, content=body, headers=headers)
    inside = [word for word in ("Traceback", "site-packages", "sqlalchemy", "SELECT") if word in answer.text]
    holds = answer.status_code in expected and not inside and len(answer.text) < 2_000
    return Answer(f"POST {path} {name}", f"{answer.status_code} {answer.text[:80]}", holds)


def _oversized(target: Target) -> Iterator[Answer]:
    for path in _ROUTES:
        size = (17 if path in {"/v1/people", "/mcp"} else 2) * _MIB
        yield refused(target, f"{size // _MIB} MiB", path, b" " * size, 413)
        yield refused(target, f"{size // _MIB} MiB in chunks", path, (b" " * _MIB for _ in range(size // _MIB)), 413)
        claimed = target.head(f"POST {path} HTTP/1.1", "Content-Length: 99999999999", "Connection: close")
        yield _raw("a length of 100 GB", target, claimed)
        endless = target.head(f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close")
        yield _raw("chunks without an end", target, endless, *([b"100000\r\n" + b" " * _MIB + b"\r\n"] * 32))


def _raw(name: str, target: Target, head: bytes, *parts: bytes) -> Answer:
    came = statuses(target.send(head, *parts))
    # The connection may be reset while the rest of the body is on its way; then the answer is lost.
    return Answer(f"{head.split()[1].decode()} {name}", f"{came}", came == [413] or (bool(parts) and not came))


def _compressed(target: Target) -> Iterator[Answer]:
    for path in _ROUTES:
        bomb = gzip.compress(b" " * 64 * _MIB)
        for encoding in ("gzip", "deflate", "br"):
            field = {"Content-Encoding": encoding}
            yield refused(target, f"{encoding} of 64 MiB", path, bomb, 400, 415, **field)


def _deep(target: Target) -> Iterator[Answer]:
    for path in _ROUTES:
        for opening, closing in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")):
            for levels in (100, 5_000, 100_000):
                text = opening * levels + "1" + closing * levels
                yield refused(target, f"{levels} x {opening}", path, text, 400, 422)
        yield refused(target, "100000 x [ without an end", path, "[" * 100_000, 400, 422)


_CHARACTERS = [r"\u0000", r"a\u0000b", r"\ud800", r"\udc00", r"\udfff\ud800"]
_NOT_UTF8 = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc3", b"\x00"]
_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5_000, str(2**63), "-" + "9" * 400, "1" + "0" * 100_000]


def _person(value: str) -> bytes:
    fields = {"name": '"Ada"', "age": "30", "country": '"GB"', "language": '"en"', "traits": "{%s}"}
    text = ", ".join(f'"{name}": {field}' for name, field in fields.items())
    return f"{{{text}}}".replace("%s", value).encode()


def _call(value: str) -> bytes:
    arguments = f'{{"name": "person_list", "arguments": {{"cursor": {value}}}}}'
    return f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {arguments}}}'.encode()


def _characters(target: Target) -> Iterator[Answer]:
    for text in _CHARACTERS:
        for where in (f'"a": "{text}"', f'"{text}": 1', f'"a": [{{"b": "{text}"}}]'):
            yield refused(target, where, "/v1/people", _person(where), 422)
        yield refused(target, text, "/mcp", _call(f'"{text}"'), 400, 422)
    for raw in _NOT_UTF8:
        body = _person('"a": "?"').replace(b"?", raw)
        yield refused(target, repr(raw), "/v1/people", body, 400, 422)
        yield refused(target, repr(raw), "/mcp", _call('"?"').replace(b"?", raw), 400)
    for text in ("%00", "%ED%A0%80", "%C0%AF", "%FF", "a%0d%0aX-Set:%20b"):
        for path in (f"/v1/people/{text}", f"/v1/people?cursor={text}", f"/v1/participants?study_id={text}"):
            answer = target.request("GET", path)
            holds = answer.status_code in {404, 422} and "x-set" not in answer.headers
            yield Answer(f"GET {path}", f"{answer.status_code}", holds)


def _numbers(target: Target) -> Iterator[Answer]:
    for number in _NUMBERS:
        yield refused(target, f"trait {number[:12]}", "/v1/people", _person(f'"a": {number}'), 400, 422)
        yield refused(target, f"age {number[:12]}", "/v1/people", _person("").replace(b"30", number.encode()), 400, 422)
        seed = f'{{"generate": 1, "seed": {number}}}'
        yield refused(target, f"seed {number[:12]}", "/v1/people", seed, 400, 422)
        yield refused(target, f"cursor {number[:12]}", "/mcp", _call(number), 400, 422)
    for limit in ("9" * 5_000, "-1", "1e3", "0x10", "\u0661", "1_0", "NaN"):
        answer = target.request("GET", "/v1/people", params={"limit": limit})
        yield Answer(f"GET /v1/people?limit={limit[:12]}", f"{answer.status_code}", answer.status_code == 422)
    for repeated in ({"a": 1}, {"name": "x"}):
        text = json.dumps(repeated)[1:-1]
        yield refused(target, "a field twice", "/v1/people", f"{{{text}, {text}}}", 422)


ATTACKS = [
    Attack("oversized body", "413, before the body is read whole", _oversized),
    Attack("compressed body", "400; nothing is unpacked", _compressed),
    Attack("deep JSON", "400 or 422", _deep),
    Attack("characters that no store keeps", "400 or 422; no header is split", _characters),
    Attack("numbers that no store keeps", "400 or 422", _numbers),
]
