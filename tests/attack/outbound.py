"""Addresses inside, in everything that makes the installation connect: webhooks, start pages, chatbots."""

from collections.abc import Iterator
from typing import Any

from tests.attack.attack import Answer, Attack
from tests.attack.target import Target

_HOSTS = (
    *("169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "100.100.100.200", "192.0.0.192", "127.0.0.1", "10.0.0.1"),
    *("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "127.1", "0", "[::1]", "[::]", "[fe80::1]"),
    *("[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[::ffff:7f00:1]", "169.254.169.254."),
    *("\uff11\uff16\uff19.254.169.254", "169\u3002254.169.254", "%31%36%39.254.169.254", "192.168.0.1", "172.16.0.1"),
)
_SCHEMES = (
    "file:///etc/passwd",
    "gopher://93.184.215.14/",
    "ftp://93.184.215.14/",
    "javascript:alert(1)",
    "//93.184.215.14/",
)
_USERINFO = ("http://93.184.215.14@169.254.169.254/", "http://u:p@93.184.215.14/", "http://93.184.215.14\\@127.0.0.1/")


def _urls() -> Iterator[str]:
    yield from (f"{scheme}://{host}/latest/meta-data/" for host in _HOSTS for scheme in ("http", "https"))
    yield from _SCHEMES
    yield from _USERINFO


def _refused(target: Target, path: str, body: dict[str, Any], url: str) -> Answer:
    answer = target.request("POST", path, json=body)
    return Answer(f"POST {path} {url}", f"{answer.status_code} {answer.text[:200]}", answer.status_code == 422)


def _webhooks(target: Target) -> Iterator[Answer]:
    for url in _urls():
        yield _refused(target, "/v1/webhooks", {"url": url}, url)


def _starts(target: Target) -> Iterator[Answer]:
    path = f"/v1/studies/{target.mine.study}/iterations"
    for url in _urls():
        yield _refused(target, path, {"content": {"environment": "web", "url": url}}, url)


ATTACKS = [
    Attack("webhook to an address inside", "422", _webhooks),
    Attack("start page inside", "422", _starts),
]
