"""The documentation over REST: the list, each page, and which page was meant."""

import pytest

from tests.http_client import ApiClient
from understudy.documentation import FOLDER, SLUGS

# No store decides anything here.
pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
LISTED = "docs_get without a slug (GET /v1/docs, understudy docs) lists all pages."


def test_the_list_names_all_pages_in_the_order_to_read_them(acme: ApiClient) -> None:
    answer = acme.get("/v1/docs")
    assert answer.status_code == 200
    assert [page["slug"] for page in answer.json()["items"]] == list(SLUGS)
    assert answer.json()["next_cursor"] is None


def test_the_list_comes_in_pages_like_any_other(acme: ApiClient) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in SLUGS:
        answer = acme.get("/v1/docs", limit=4, **cursor).json()
        seen += [page["slug"] for page in answer["items"]]
        if answer["next_cursor"] is None:
            break
        assert len(answer["items"]) == 4
        cursor = {"cursor": answer["next_cursor"]}
    assert seen == list(SLUGS)
    assert acme.get("/v1/docs", cursor="concepts/nothing").json()["error_code"] == "validation_error"


def test_every_page_is_answered_as_it_is_written(acme: ApiClient) -> None:
    for entry in acme.get("/v1/docs").json()["items"]:
        answer = acme.get(f"/v1/docs/{entry['slug']}")
        assert answer.status_code == 200
        content = (FOLDER / f"{entry['slug']}.md").read_text()
        assert answer.json() == {"slug": entry["slug"], "title": entry["title"], "content": content}
        assert content.startswith(f"# {entry['title']}\n\n")
        assert " ".join(content.split("\n\n")[1].split()) == entry["summary"]


def test_pages_need_a_token_like_everything_else(acme: ApiClient) -> None:
    for path in ("/v1/docs", "/v1/docs/concepts/overview"):
        answer = acme.http.get(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.json()["error_code"]) == (401, "auth_failed")


@pytest.mark.parametrize(
    ("slug", "meant"),
    [
        ("concepts/extend", "concepts/extending-a-simulation"),
        ("extending-a-simulation", "concepts/extending-a-simulation"),
        ("reference/long-running-job", "reference/long-running-jobs"),
        ("error", "reference/errors"),
        ("django", None),
        ("concepts", None),
        ("decisions", None),
    ],
)
def test_an_unknown_page_is_not_found_and_near_ones_are_named(acme: ApiClient, slug: str, meant: str | None) -> None:
    answer = acme.get(f"/v1/docs/{slug}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "not_found")
    assert answer.json()["error"] == f"There is no page {slug}."
    suggestions = answer.json()["suggestions"]
    assert suggestions[-1] == LISTED
    assert suggestions[0] == (f"Did you mean {meant}?" if meant else LISTED)


@pytest.mark.parametrize(
    "slug",
    [
        "/concepts/overview",
        "concepts/overview/",
        "concepts//overview",
        "Concepts/Overview",
        "concepts/overview.md",
        "%2e%2e/decisions",
        "concepts/%2e%2e/decisions",
        "..%2f..%2fpyproject.toml",
        "concepts%5coverview",
        "concepts/overview%00",
        "%ff",
        "extending%20a%20simulation",
        "a" * 201,
    ],
)
def test_what_cannot_be_a_slug_is_told_and_never_made_a_path(acme: ApiClient, slug: str) -> None:
    answer = acme.get(f"/v1/docs/{slug}")
    assert (answer.status_code, answer.json()["error_code"]) == (422, "validation_error")
    assert "concepts/overview" in answer.json()["error"]
    assert answer.json()["suggestions"][-1] == LISTED


def test_who_writes_it_otherwise_is_told_the_page(acme: ApiClient) -> None:
    for slug in ("Concepts/Overview", "concepts/overview.md", "overview%20page"):
        assert acme.get(f"/v1/docs/{slug}").json()["suggestions"][0] == "Did you mean concepts/overview?"


def test_a_slash_too_many_is_no_page(acme: ApiClient) -> None:
    answer = acme.get("/v1/docs/")
    assert (answer.status_code, answer.json()["error"]) == (404, "GET /v1/docs/: no such route.")


def test_a_parameter_that_is_none_is_refused(acme: ApiClient) -> None:
    assert acme.get("/v1/docs", section="concepts").status_code == 422
    assert acme.get("/v1/docs/concepts/overview", format="html").status_code == 422
