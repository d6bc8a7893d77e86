"""The headers of a visit: who led there, and in which languages a person reads."""

import httpx
import pytest

from understudy.environments.navigation import Navigation, accept_language

SHOP = "https://shop.test/cart?x=1#part"


@pytest.mark.parametrize(
    ("initiator", "passed", "url", "site", "referrer"),
    [
        ("", (), "https://shop.test/", "none", None),
        (SHOP, (), "https://shop.test/pay", "same-origin", "https://shop.test/cart?x=1"),
        (SHOP, (), "https://shop.test:444/", "same-site", "https://shop.test/"),
        (SHOP, (), "https://bank.test/", "cross-site", "https://shop.test/"),
        (SHOP, ("https://bank.test/",), "https://shop.test/", "cross-site", "https://shop.test/"),
        ("https://shop.test", (), "https://shop.test/a", "same-origin", "https://shop.test/"),
        ("http://localhost:1/a", (), "http://localhost:1/b", "same-origin", "http://localhost:1/a"),
        ("https://店.test/é?x=ü", (), "https://店.test/b", "same-origin", "https://xn--hxt.test/%C3%A9?x=%C3%BC"),
        ("https://店.test/é", (), "https://shop.test/", "cross-site", "https://xn--hxt.test/"),
        # Without TLS there are no Fetch Metadata, and a page with it is not named.
        ("http://shop.test/a", (), "http://shop.test/b", None, "http://shop.test/a"),
        (SHOP, (), "http://shop.test/", None, None),
    ],
)
def test_site_and_referrer(
    initiator: str, passed: tuple[str, ...], url: str, site: str | None, referrer: str | None
) -> None:
    headers = Navigation(initiator, passed).headers(url, "GET")
    assert (headers.get("Sec-Fetch-Site"), headers.get("Referer")) == (site, referrer)
    assert ("Sec-Fetch-Mode" in headers) == (site is not None)
    assert "Origin" not in headers


@pytest.mark.parametrize(
    ("initiator", "passed", "url", "origin"),
    [
        (SHOP, (), "https://shop.test/pay", "https://shop.test"),
        (SHOP, (), "https://bank.test/", "https://shop.test"),
        (SHOP, ("https://shop.test/1",), "https://bank.test/", "https://shop.test"),
        (SHOP, ("https://bank.test/",), "https://bank.test/2", "https://shop.test"),
        (SHOP, ("https://bank.test/",), "https://shop.test/", "null"),
        ("http://[::1]:8000/", (), "http://[::1]:8000/x", "http://[::1]:8000"),
        ("", (), "https://shop.test/", None),
    ],
)
def test_forms_name_the_origin_of_their_page(
    initiator: str, passed: tuple[str, ...], url: str, origin: str | None
) -> None:
    assert Navigation(initiator, passed).headers(url, "POST").get("Origin") == origin


def test_only_the_person_activates() -> None:
    assert Navigation(SHOP).headers("https://shop.test/", "GET")["Sec-Fetch-User"] == "?1"
    assert "Sec-Fetch-User" not in Navigation(SHOP, by_person=False).headers("https://shop.test/", "GET")


def test_a_redirect_is_remembered() -> None:
    navigation = Navigation(SHOP).redirected("https://bank.test/")
    assert navigation.is_cross_site("https://shop.test/")
    assert not Navigation(SHOP).is_cross_site("https://shop.test/")


@pytest.mark.parametrize("port", ["port", "65536", "-1"])
def test_an_address_with_an_invalid_port_is_an_error(port: str) -> None:
    with pytest.raises(httpx.InvalidURL, match="port"):
        Navigation(SHOP).headers(f"https://shop.test:{port}/", "GET")


@pytest.mark.parametrize(
    ("language", "country", "header"),
    [
        ("de", "AT", "de-AT,de;q=0.9,en;q=0.8"),
        ("en", "GB", "en-GB,en;q=0.9"),
        ("pt-BR", "BR", "pt-BR,pt;q=0.9,en;q=0.8"),
        ("de", "Österreich", "de,en;q=0.9"),
        ("German", "DE", "en"),
        ("x\r\ny", "DE", "en"),
        ("", "", "en"),
    ],
)
def test_accept_language_of_a_person(language: str, country: str, header: str) -> None:
    assert accept_language(language, country) == header
