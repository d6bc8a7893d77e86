"""The documentation over REST: the list, each page, and suggestions for unknown pages."""

import pytest

from tests.contract.paging import pages
from tests.http_client import ApiClient
from understudy.documentation import FOLDER, SLUGS

# Pages come from files, not from the store.
pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
LISTED = "docs_get without a slug (GET /v1/docs, understudy docs) lists all pages."


def test_the_list_names_all_pages_in_the_order_to_read_them(acme: ApiClient) -> None:
    assert [[page["slug"] for page in items] for items in pages(acme, "/v1/docs")] == [list(SLUGS)]
    by_four = [[page["slug"] for page in items] for items in pages(acme, "/v1/docs", limit=4)]
    assert by_four == [list(SLUGS[start : start + 4]) for start in range(0, len(SLUGS), 4)]
    assert acme.get("/v1/docs", cursor="concepts/nothing").json()["error_code"] == "validation_error"


def test_every_page_is_answered_as_it_is_written(acme: ApiClient) -> None:
    written = {slug: (FOLDER / f"{slug}.md").read_text().partition("\n\n") for slug in SLUGS}
    assert acme.get("/v1/docs").json()["items"] == [
        {"slug": slug, "title": heading.removeprefix("# "), "summary": " ".join(text.partition("\n\n")[0].split())}
        for slug, (heading, _, text) in written.items()
    ]
    assert [acme.get(f"/v1/docs/{slug}").json() for slug in SLUGS] == [
        {"slug": slug, "title": parts[0].removeprefix("# "), "content": "".join(parts)}
        for slug, parts in written.items()
    ]


@pytest.mark.parametrize(
    ("slug", "near"),
    [
        ("concepts/extend", "concepts/extending-a-simulation"),
        ("extending-a-simulation", "concepts/extending-a-simulation"),
        ("reference/long-running-job", "reference/long-running-jobs"),
        ("error", "reference/errors"),
        ("zebra", None),
        ("concepts", None),
        ("decisions", None),
    ],
)
def test_an_unknown_page_is_not_found_and_a_near_one_is_named(acme: ApiClient, slug: str, near: str | None) -> None:
    answer = acme.get(f"/v1/docs/{slug}")
    body = answer.json()
    assert (answer.status_code, body["error_code"], body["error"]) == (404, "not_found", f"There is no page {slug}.")
    assert body["suggestions"][0] == (f"Did you mean {near}?" if near else LISTED)
    assert body["suggestions"][-1] == LISTED


@pytest.mark.parametrize(
    "slug",
    [
        *("/concepts/overview", "concepts/overview/", "concepts//overview", "%2e%2e/decisions"),
        *("concepts/%2e%2e/decisions", "..%2f..%2fpyproject.toml", "concepts%5coverview", "concepts/overview%00"),
        *("%ff", "extending%20a%20simulation", "a" * 201),
    ],
)
def test_a_malformed_slug_is_refused_and_never_becomes_a_path(acme: ApiClient, slug: str) -> None:
    answer = acme.get(f"/v1/docs/{slug}")
    assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error")
    assert "concepts/overview" in answer.json()["error"]
    assert answer.json()["suggestions"][-1] == LISTED


@pytest.mark.parametrize("slug", ["Concepts/Overview", "concepts/overview.md", "overview%20page"])
def test_a_malformed_slug_near_a_page_gets_its_name(acme: ApiClient, slug: str) -> None:
    answer = acme.get(f"/v1/docs/{slug}")
    assert (answer.status_code, answer.json()["suggestions"][0]) == (422, "Did you mean concepts/overview?")


def test_the_list_with_a_trailing_slash_is_no_route(acme: ApiClient) -> None:
    answer = acme.get("/v1/docs/")
    assert (answer.status_code, answer.json()["error"]) == (404, "GET /v1/docs/: no such route.")
