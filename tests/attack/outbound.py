"""Addresses inside, in everything that makes the installation connect: webhooks, start pages, chatbots."""

import socket
from collections.abc import Iterator
from typing import Any

from tests.attack.attack import Answer, Attack
from tests.attack.target import Target

_HOSTS = (
    *("169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "100.100.100.200", "192.0.0.192", "127.0.0.1", "10.0.0.1"),
    *("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "127.1", "0", "[::1]", "[::]", "[fe80::1]"),
    *("[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[::ffff:7f00:1]", "169.254.169.254."),
    *("\uff11\uff16\uff19.254.169.254", "169\u3002254.169.254", "%31%36%39.254.169.254", "192.168.0.1", "172.16.0.1"),
    *("169.254.169.254%2e", "2852039166.", "0xa9fea9fe.", "169.254.169.254\u3002", "127.0.0.1%00.example.org"),
)
_SCHEMES = (
    "file:///etc/passwd",
    "gopher://93.184.215.14/",
    "ftp://93.184.215.14/",
    "javascript:alert(1)",
    "//8.8.8.8/",
)
_USERINFO = ("http://93.184.215.14@169.254.169.254/", "http://u:p@93.184.215.14/", "http://:@93.184.215.14/")
#: Notations of the loopback address, without a port.
_LOOPBACK = ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0", "[::ffff:127.0.0.1]", "127.0.0.1.")


def _chat(url: str) -> dict[str, Any]:
    bot = {"protocol": "json", "request": {"text": "{message}"}, "response_path": "reply"}
    return {"environment": "chat", "url": url} | bot


def _refused(target: Target, path: str, body: dict[str, Any], url: str) -> Answer:
    answer = target.request("POST", path, json=body)
    return Answer(f"POST {path} {url}", f"{answer.status_code} {answer.text[:200]}", answer.status_code == 422)


def _webhooks(target: Target) -> Iterator[Answer]:
    for url in (f"{scheme}://{host}/latest/meta-data/" for host in _HOSTS for scheme in ("http", "https")):
        yield _refused(target, "/v1/webhooks", {"url": url}, url)


def _urls(target: Target) -> Iterator[Answer]:
    path = f"/v1/studies/{target.mine.study}/iterations"
    for url in (*_SCHEMES, *_USERINFO):
        yield _refused(target, "/v1/webhooks", {"url": url}, url)
        yield _refused(target, path, {"content": {"environment": "web", "url": url}}, url)
        yield _refused(target, path, {"content": _chat(url)}, url)


def _starts(target: Target) -> Iterator[Answer]:
    """Runs a participant for each notation, at a listener that counts its connections."""
    assert target.workers
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.setblocking(False)
        for modality in ("interactive", "chat"):
            body = {"name": "Inside", "modality": modality, "assignment": {"task": "Look around"}}
            study = target.request("POST", "/v1/studies", json=body).json()["id"]
            for host in _LOOPBACK:
                url = f"http://{host}:{listener.getsockname()[1]}/"
                ended = _run(target, study, _chat(url) if modality == "chat" else {"environment": "web", "url": url})
                came = f"{ended['status']}: {ended['error_message']}"
                yield Answer(f"{modality} {url}", came, ended["status"] == "failed" and not _is_hit(listener))


def _run(target: Target, study: str, content: dict[str, Any]) -> dict[str, Any]:
    """Runs one participant to its end; returns it."""
    mind = {} if content["environment"] == "chat" else {"mind": "scripted"}
    iteration = target.request("POST", f"/v1/studies/{study}/iterations", json={"content": content} | mind).json()["id"]
    body = {"sample": 1, "iteration_id": iteration, "wait": True, "timeout": 60}
    run = target.request("POST", f"/v1/studies/{study}/run", json=body, timeout=90).json()
    (id_,) = run["dispatch"]["participant_ids"]
    ended: dict[str, Any] = target.request("GET", f"/v1/participants/{id_}").json()
    return ended


def _is_hit(listener: socket.socket) -> bool:
    try:
        listener.accept()
    except BlockingIOError:
        return False
    return True


ATTACKS = [
    Attack("webhook to an address inside", "422", _webhooks),
    Attack("other scheme or user in a URL", "422", _urls),
    Attack(
        "start page or chatbot inside", "its run fails; no connection is made", _starts, writes=True, is_quick=False
    ),
]
