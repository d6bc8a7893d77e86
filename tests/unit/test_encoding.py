"""Bodies are decoded as browsers do."""

import pytest

from understudy.environments.encoding import decode
from understudy.environments.page_source import PageSource
from understudy.environments.reader import read_page


@pytest.mark.parametrize(
    ("body", "parameters", "text"),
    [
        ("é".encode(), "", "é"),
        (b"caf\xe9", "", "café"),
        ("é".encode() + b"\xc3", "", "é"),
        (b"\xe9\x80", "charset=latin1", "é€"),
        (b"\xe9", ' charset = "ISO_8859-1:1987"', "é"),
        ("日本①".encode("cp932"), "charset=x-sjis", "日本①"),
        ("€中".encode("gb18030"), "charset=gb2312", "€中"),
        ("한".encode("cp949"), "charset=ks_c_5601-1987", "한"),
        ("א".encode("iso8859-8"), "charset=logical", "א"),
        ("é".encode(), "charset=nonsense", "é"),
        ("é".encode("utf-16-le"), "charset=utf-16", "é"),
        (b"\xef\xbb\xbf\xc3\xa9", "charset=latin1", "é"),
        (b"anything", "charset=iso-2022-kr", "\ufffd"),
    ],
)
def test_body_is_decoded_by_its_label(body: bytes, parameters: str, text: str) -> None:
    assert decode(body, parameters).text == text


@pytest.mark.parametrize(
    ("start", "charset"),
    [
        (b"<meta charset=koi8-r>", "koi8-r"),
        (b"<META http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r' http-equiv=content-type>", "koi8-r"),
        (b"<meta content='text/html; charset=koi8-r'>", "utf-8"),
        (b"<!-- <meta charset=koi8-r> -->", "utf-8"),
        (b"<p title='<meta charset=koi8-r>'>", "utf-8"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<?xml version='1.0' encoding='koi8-r'?>", "koi8-r"),
        (b"<meta name=x charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        (b" " * 1_024 + b"<meta charset=koi8-r>", "utf-8"),
    ],
)
def test_page_declares_its_encoding_at_its_beginning(start: bytes, charset: str) -> None:
    assert decode(start, "").charset == charset


def test_no_beginning_takes_long() -> None:
    for start in (b"<meta " * 200_000, b"<!--" * 200_000, b"<?xml " * 200_000, b"<a '" * 200_000):
        assert decode(start, "").charset == "utf-8"


def test_xhtml_has_tags_that_close_themselves() -> None:
    body = b"<html><head><script src='x.js'/><title/></head><body><div/><p>One <![CDATA[<two>]]></p></body></html>"
    source = PageSource("http://site.test/", "", is_xml=True)
    assert read_page(source, body).text == "One <two>"
