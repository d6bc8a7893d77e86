"""User and password are taken out of a URL, also of one that is spelled sloppily or invalid."""

import pytest

from understudy.domain.userinfo import shown_content, without_userinfo


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:pw@shop.example/a?b#c", "https://shop.example/a?b#c"),
        ("http://u@shop.example", "http://shop.example"),
        ("HTTP://u:p@w:p@[::1]:80/", "HTTP://[::1]:80/"),
        (" https://u:pw@shop.example/", " https://shop.example/"),
        ("//u:pw@shop.example/", "//shop.example/"),
        ("http:u:pw@shop.example/", "http:shop.example/"),
        ("http:\\\\u:pw@shop.example/", "http:\\\\shop.example/"),
        ("http:////u:pw@shop.example/", "http:////shop.example/"),
        ("https://u:p\\w@shop.example/", "https://shop.example/"),
        ("https://u:pw@[broken/", "https://[broken/"),
        ("ftp://u:pw@files.example/", "ftp://files.example/"),
        ("gopher://u:pw@files.example/", "gopher://files.example/"),
        ("https://u:pw@", "https://"),
        ("https://shop.example/@ada", "https://shop.example/@ada"),
        ("https://shop.example?mail=ada@shop.example", "https://shop.example?mail=ada@shop.example"),
        ("https://shop.example#ada@home", "https://shop.example#ada@home"),
        ("mailto:ada@shop.example", "mailto:ada@shop.example"),
        ("/@ada", "/@ada"),
        ("", ""),
    ],
)
def test_without_userinfo_of_a_url_keeps_the_rest(url: str, shown: str) -> None:
    assert without_userinfo(url) == shown


def test_shown_content_has_no_user_and_password() -> None:
    content = {"environment": "web", "url": "https://u:pw@shop.example/"}
    assert shown_content(content) == {"environment": "web", "url": "https://shop.example/"}
    assert shown_content({"environment": "text", "variants": ["a"]}) == {"environment": "text", "variants": ["a"]}
