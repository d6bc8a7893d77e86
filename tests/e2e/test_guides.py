"""The guides for web apps, followed from an empty folder by their text alone, and used as their users would."""

import html
import json
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from standardwebhooks import Webhook

from tests.e2e.test_installation import wheel
from tests.pages.guide_runner import API, APP, GUIDES, GuideRunner
from tests.servers import wait_until
from understudy.documentation import FOLDER

__all__ = ["wheel"]

PASSWORD = "mugs-are-blue"
BAD_URLS = (
    "",
    "shop",
    "htp://shop",
    "http://",
    "javascript:alert(1)",
    "http://[",
    "http://a b/",
    "https://" + "a" * 2001,
)


class Page(NamedTuple):
    status: int
    text: str

    @property
    def participants(self) -> dict[str, str]:
        """Participants on the page of a visit, by their id, with their status."""
        return dict(re.findall(r'id="([0-9a-f-]{36})" data-status="(\w+)"', self.text))


class WebUser:
    """A user of the app in a browser of their own, without its script."""

    def __init__(self, app: str, name: str) -> None:
        self.http = httpx.Client(base_url=app, follow_redirects=True, trust_env=False, timeout=30)
        self.name = name

    def sign_in(self) -> None:
        self.http.get("/sign-in")
        assert self.post("/sign-in", name=self.name, username=self.name, password=PASSWORD).status == 200

    def get(self, path: str) -> Page:
        answer = self.http.get(path)
        return Page(answer.status_code, html.unescape(answer.text))

    def post(self, path: str, **form: str) -> Page:
        if token := self.http.cookies.get("csrftoken"):
            form["csrfmiddlewaretoken"] = token
        answer = self.http.post(path, data=form)
        return Page(answer.status_code, html.unescape(answer.text))

    def visit(self, url: str, task: str = "Buy a blue mug", id_: str = "") -> tuple[str, Page]:
        """Sends people to a page; returns the path of the visit and the answer."""
        id_ = id_ or str(uuid.uuid4())
        self.get("/")
        return f"/visits/{id_}", self.post("/visits", id=id_, url=url, task=task)

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        """Yields the events of a visit, as its page gets them."""
        address = self.http.get(f"{path}/ticket").json()["address"]
        headers = {"Origin": str(self.http.base_url).rstrip("/")}
        with httpx.stream("GET", address, headers=headers, timeout=30, trust_env=False) as answer:
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == headers["Origin"]
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@pytest.fixture(params=GUIDES)
def guide(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Iterator[GuideRunner]:
    """A guide that was followed to its end: its app runs."""
    runner = GuideRunner(tmp_path, wheel)
    try:
        runner.follow(FOLDER / f"{request.param}.md")
        yield runner
    finally:
        runner.close()


@contextmanager
def user(guide: GuideRunner, name: str) -> Iterator[WebUser]:
    """Yields a user who has signed in."""
    if (guide.folder / "manage.py").exists() and name != "ada":
        guide.run(
            f"DJANGO_SUPERUSER_PASSWORD={PASSWORD} python manage.py createsuperuser --noinput --username {name} "
            f"--email {name}@example.com"
        )
    someone = WebUser(guide.app, name)
    with someone.http:
        someone.sign_in()
        yield someone


@pytest.mark.timeout(300)
def test_a_guide_leads_from_an_empty_folder_to_an_app_that_works(guide: GuideRunner) -> None:
    with user(guide, "ada") as ada, user(guide, "bob") as bob:
        _refuse_strangers(guide)
        _refuse_bad_input(ada, guide)
        path = _follow_a_visit(ada, guide)
        _hide_from_others(ada, bob, path, guide)
        _extend(ada, path)
        _stop(ada)
        _receive_webhooks(guide, ada, path)
        _survive_an_outage(guide, ada, path)
    assert "Traceback" not in guide.log(APP), guide.log(APP)


def _refuse_strangers(guide: GuideRunner) -> None:
    with httpx.Client(base_url=guide.app, trust_env=False) as stranger:
        for path in (f"/visits/{uuid.uuid4()}", f"/visits/{uuid.uuid4()}/ticket"):
            assert stranger.get(path).status_code in {302, 401}
        assert stranger.post("/visits", data={"url": guide.shop}).status_code in {302, 401, 403}


def _refuse_bad_input(ada: WebUser, guide: GuideRunner) -> None:
    for url in BAD_URLS:
        path, answer = ada.visit(url)
        assert answer.status == 422, (url, answer)
        if url:
            assert "content.url must be an http or https address" in answer.text
        assert ada.get(path).status == 404
    assert ada.visit(guide.shop, task="")[1].status == 422
    assert ada.visit(guide.shop, task="a\0b")[1].status == 422
    assert ada.visit(guide.shop, task="a" * 2**20)[1].status in {400, 413, 422}
    assert "/visits/" not in ada.get("/").text.replace('action="/visits"', "")


def _follow_a_visit(ada: WebUser, guide: GuideRunner) -> str:
    path, page = ada.visit(guide.shop)
    assert page.status == 200, page
    assert len(page.participants) == 5
    # The form is sent twice: the same people.
    assert ada.visit(guide.shop, id_=path.removeprefix("/visits/"))[1].participants.keys() == page.participants.keys()
    steps, completed = 0, set()
    for event in ada.follow(path):
        steps += "index" in event
        if event.get("status") == "completed":
            completed.add(event["participant_id"])
        if len(completed) == 5:
            break
    assert completed == page.participants.keys()
    assert steps >= 5
    assert set(ada.get(path).participants.values()) == {"completed"}
    return path


def _hide_from_others(ada: WebUser, bob: WebUser, path: str, guide: GuideRunner) -> None:
    participant = next(iter(ada.get(path).participants))
    own, _ = bob.visit(guide.shop)
    form = {"key": str(uuid.uuid4()), "instruction": ""}
    assert path not in bob.get("/").text
    assert [bob.get(path).status, bob.get(f"{path}/ticket").status] == [404, 404]
    assert [bob.post(f"{path}/stop").status, bob.post(f"{path}/start").status] == [404, 404]
    for visit in (path, own):
        assert bob.post(f"{visit}/participants/{participant}/extend", **form).status == 404
    assert bob.post("/visits", id=path.removeprefix("/visits/"), url=guide.shop, task="Look").status == 404
    assert len(ada.get(path).participants) == 5


def _extend(ada: WebUser, path: str) -> None:
    participant = next(iter(ada.get(path).participants))
    extend = f"{path}/participants/{participant}/extend"
    form = {"key": str(uuid.uuid4()), "instruction": "Switch to the German picker"}
    for _ in range(2):
        assert len(ada.post(extend, **form).participants) == 6
    refused = ada.post(extend, key=str(uuid.uuid4()), instruction="a" * 4001)
    assert (refused.status, "at most 4,000 characters" in refused.text) == (422, True)
    assert ada.post(f"{path}/participants/{uuid.uuid4()}/extend", **form).status == 404
    assert ada.post(f"{path}/participants/nobody/extend", **form).status in {404, 422}
    wait_until(lambda: set(ada.get(path).participants.values()) == {"completed"}, 60, "the extended one completes")


def _stop(ada: WebUser) -> None:
    # It accepts connections and answers nothing.
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        path, page = ada.visit(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert len(page.participants) == 5
        running = next(iter(page.participants))
        refused = ada.post(f"{path}/participants/{running}/extend", key=str(uuid.uuid4()), instruction="")
        assert refused.status == 422, refused
        for _ in range(2):
            assert set(ada.post(f"{path}/stop").participants.values()) == {"cancelled"}


def _receive_webhooks(guide: GuideRunner, ada: WebUser, path: str) -> None:
    def finished() -> int:
        return int(re.findall(r"Finished runs: (\d+)", ada.get(path).text)[0])

    # One of the run, one of the extend.
    wait_until(lambda: finished() == 2, 60, f"the webhooks arrive; {guide.log(APP)}")
    study = json.loads(guide.run("understudy list --json"))["items"]
    ((study_id,),) = [[item["id"] for item in study if item["name"] == f"Visit {path.removeprefix('/visits/')}"]]
    now, id_ = datetime.now(UTC), str(uuid.uuid4())
    body = json.dumps({"type": "run.finished", "timestamp": now.isoformat(), "data": {"study_id": study_id}})
    headers = {"webhook-id": id_, "webhook-timestamp": str(int(now.timestamp()))}

    def send(**changed: str) -> int:
        sent = headers | {name.replace("_", "-"): value for name, value in changed.items()}
        return httpx.post(f"{guide.app}/webhook", content=body, headers=sent, trust_env=False).status_code

    forged = Webhook("whsec_" + "QUJD" * 8).sign(id_, now, body)
    signature = Webhook(guide.variable("WEBHOOK_SECRET")).sign(id_, now, body)
    assert [send(), send(webhook_signature=forged), send(webhook_signature="nonsense")] == [400, 400, 400]
    assert send(webhook_signature=signature, webhook_timestamp="1700000000") == 400
    assert finished() == 2
    assert [send(webhook_signature=signature), send(webhook_signature=signature)] == [204, 204]
    assert finished() == 3


def _survive_an_outage(guide: GuideRunner, ada: WebUser, path: str) -> None:
    guide.stop(API)
    assert ada.get(path).status == 503
    later, answer = ada.visit(guide.shop)
    assert answer.status == 503
    guide.start(f"understudy up --port {guide.ports[API]} --no-flower")
    page = ada.get(later)
    assert (page.status, page.participants) == (200, {})
    sent = ada.post(f"{later}/start").participants
    assert len(sent) == 5
    assert ada.post(f"{later}/start").participants.keys() == sent.keys()
