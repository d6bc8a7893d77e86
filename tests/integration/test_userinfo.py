"""User and password of a URL: they go to the start page's origin only, and nothing shows them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.environments import act, stored, use
from tests.inside import Names, Site
from tests.servers import serve_in_thread
from understudy.environments import EnvironmentUnreachable
from understudy.environments.chat import ChatEnvironment
from understudy.environments.web import WebEnvironment

USERINFO = "robin:h%40rd-pw"
PASSWORDS = ("robin", "h%40rd-pw", "h@rd-pw")


@pytest.fixture
def served() -> Iterator[tuple[Site, int]]:
    site = Site()
    with serve_in_thread(site) as url:
        yield site, int(url.rsplit(":", 1)[1])


def test_user_and_password_of_the_start_page_go_to_its_origin_only(served: tuple[Site, int]) -> None:
    site, port = served
    other = f"http://{USERINFO}@public.test:{port}/page?/"
    seen: list[Any] = []

    async def scene(opened: WebEnvironment) -> None:
        for kind, label in (("wait", ""), ("follow", "there"), ("follow", "there"), ("back", "")):
            seen.append(await act(opened, kind, label))
            seen.append(stored(opened.snapshot()))

    start = f"http://{USERINFO}@127.0.0.1:{port}/page?/302?{other}"
    environment = WebEnvironment({"url": start}, allow_private_hosts=True, resolver=Names())
    asyncio.run(use(environment, scene))
    assert [(each["host"], "authorization" in each) for each in site.headers] == [
        (f"127.0.0.1:{port}", True),
        (f"127.0.0.1:{port}", True),
        (f"public.test:{port}", False),
        (f"public.test:{port}", False),
        (f"public.test:{port}", False),
    ]
    shown = [str(each) for each in seen] + [each.get("referer", "") for each in site.headers]
    assert [(secret, text) for text in shown for secret in PASSWORDS if f"{secret}@" in text.split("/page?")[0]] == []


@pytest.mark.parametrize("way", ["302", "refresh", "page", "base", "hop"])
@pytest.mark.parametrize("target", ["127.0.0.1:{port}", "127.0.0.1:1", "inside.test:1", "nowhere.test", "[", "a b"])
def test_user_and_password_of_a_url_are_in_no_observation(served: tuple[Site, int], way: str, target: str) -> None:
    _, port = served
    told: list[str] = []

    def note(opened: WebEnvironment) -> None:
        told.extend((str(opened.observe()), str(opened.snapshot()["url"]), str(opened.snapshot()["back"])))

    async def scene(opened: WebEnvironment) -> None:
        note(opened)
        if any(element.label == "there" for element in opened.observe().elements):
            await act(opened, "follow", "there")
            note(opened)

    url = f"http://{USERINFO}@{target.format(port=port)}/answer"
    start = f"http://{USERINFO}@127.0.0.1:{port}/{way}?{url.replace(' ', '%20')}"
    environment = WebEnvironment({"url": start}, allow_private_hosts=True, resolver=Names())
    try:
        asyncio.run(use(environment, scene))
    except EnvironmentUnreachable as problem:
        told.append(str(problem))
    assert told
    # The query of the site's own address says where it leads.
    own = f"127.0.0.1:{port}/{way}?http://{USERINFO}@"
    hop = f"127.0.0.1:{port}/302?http://{USERINFO}@"
    texts = [text.replace(own, "").replace(hop, "") for text in told]
    assert [text for text in texts if any(secret in text for secret in PASSWORDS)] == []


def test_endless_redirects_are_shown_without_user_and_password(served: tuple[Site, int]) -> None:
    path = f"http://127.0.0.1:{served[1]}/loop?127.0.0.1:{served[1]}"
    environment = WebEnvironment({"url": path}, allow_private_hosts=True)
    with pytest.raises(EnvironmentUnreachable, match="too many redirects") as told:
        asyncio.run(use(environment, _nothing))
    assert [secret for secret in PASSWORDS if secret in str(told.value)] == []


async def _nothing(opened: WebEnvironment) -> None:
    pass


def test_redirect_of_a_chatbot_is_named_without_user_and_password(served: tuple[Site, int]) -> None:
    request = {"request": {"text": "{message}"}, "response_path": "reply"}
    url = f"http://127.0.0.1:{served[1]}/302?http://{USERINFO}@public.test/"
    environment = ChatEnvironment({"protocol": "json", "url": url, **request}, allow_private_hosts=True)
    with pytest.raises(EnvironmentUnreachable, match=r"redirects to http://public\.test/"):
        asyncio.run(use(environment, lambda opened: act(opened, "say", value="hi")))
