"""What a person sees of HTML, and malicious HTML."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.environments.forms import ActionNotPossible, Forms
from understudy.environments.html_sanitizer import sanitize_html
from understudy.environments.page import Page
from understudy.environments.reader import read_html, read_text

URL = "http://shop.test/dir/page.html?x=1"

FORM = """
<form action="/send" method="post">
  <input type="hidden" name="token" value="t&amp;1">
  <label for="n">Your name</label> <input id="n" name="name" required>
  <label>Comment <textarea name="comment">\nas it was</textarea></label>
  <label>Country <select name="country"><option value="">Choose<option value="DE">Germany
    <option value="FR" disabled>France<option value="AT" selected>Austria</select></label>
  <label><input type="radio" name="size" value="s"> Small</label>
  <label><input type="radio" name="size" value="l" checked> Large</label>
  <label><input type="checkbox" name="terms"> I agree</label>
  <input name="q" placeholder="Search here"> <input name="billing[zip_code]">
  <input name="gone" disabled value="1"> <input name="fixed" readonly value="2"> <input type="file" name="f">
  <button name="do" value="save">Save</button> <input type="submit" name="do" value="Delete">
  <button type="reset">Reset</button> <button type="button">Nothing</button>
</form>
"""


def page(html: str) -> Page:
    return read_html(html, URL)


def numbers(of: Page) -> dict[str, int]:
    return {control.label: control.number for control in of.controls if control.number}


def links(html: str) -> list[tuple[str, str]]:
    return [(control.label, control.href) for control in page(html).controls if control.kind == "link"]


def test_text_is_the_visible_text() -> None:
    seen = page(
        "<title> The\n title </title><style>a{}</style><script>var x='<p>no'</script>"
        "<h1>A <b>big</b> head</h1>"
        "<p>one</p><p>two<br>three</p><ul><li>x<li>y</ul>in<b>si</b>de<noscript>no script</noscript>"
        "<div hidden>h</div><div style='Display: none'>d</div><template>t</template><dialog>g</dialog>"
        "&nbsp;end<select><option>unseen</select><textarea>typed</textarea><svg><title>s</title></svg>"
    )
    assert seen.title == "The title"
    assert seen.headings == ("A big head",)
    assert seen.text == "A big head one two three x y inside no script end"


def test_links_have_absolute_urls_and_labels() -> None:
    found = links(
        "<base href='/shop/'><a href='mugs.html'>Mugs</a><a href='../up'><img alt='A picture'></a>"
        "<a href='/x/last%20part?y=1'></a><a href='?q=2'>Query</a><a href='#top' title='Up'>&uarr;</a>"
        "<a href='//other.test/'>Other</a><a href='https://secure.test'>Secure</a><a name='x'>Anchor</a>"
        "<a href='mailto:a@b.c'>Mail</a><a href='javascript:void(0)'>No</a><a href=' /sp\naces '>Spaces</a>"
    )
    assert found == [
        ("Mugs", "http://shop.test/shop/mugs.html"),
        ("A picture", "http://shop.test/up"),
        ("last%20part", "http://shop.test/x/last%20part?y=1"),
        ("Query", "http://shop.test/shop/?q=2"),
        ("↑", "http://shop.test/shop/#top"),
        ("Other", "http://other.test/"),
        ("Secure", "https://secure.test"),
        ("Spaces", "http://shop.test/spaces"),
    ]


def test_relative_links_are_resolved() -> None:
    urls = {
        "a/b.html": "http://shop.test/dir/a/b.html",
        "/a/b.html?c=d#e": "http://shop.test/a/b.html?c=d#e",
        "../../a": "http://shop.test/a",
        "?page=2": "http://shop.test/dir/page.html?page=2",
        "HTTP://SHOP.TEST/": "http://SHOP.TEST/",
    }
    assert links("".join(f"<a href='{href}'>{href}</a>" for href in urls)) == list(urls.items())


def test_fields_have_visible_labels_options_and_values() -> None:
    seen = page(FORM)
    kinds = [(control.kind, control.label) for control in seen.controls if control.number]
    assert kinds == [
        *(("text", "Your name"), ("textarea", "Comment"), ("select", "Country"), ("radio", "size")),
        *(("checkbox", "I agree"), ("text", "Search here"), ("text", "billing zip code")),
        *(("button", label) for label in ("Save", "Delete", "Reset", "Nothing")),
    ]
    elements = {element.label: element for element in Forms(seen).elements()}
    assert elements["Country"].options == ("Choose", "Germany", "Austria")
    assert elements["size"].options == ("Small", "Large")
    values = {"Country": "Austria", "size": "Large", "Comment": "as it was", "I agree": ""}
    assert {label: elements[label].value for label in values} == values
    assert elements["Your name (required)"].form == 0


def test_a_form_sends_what_a_browser_would() -> None:
    seen = page(FORM)
    number, forms = numbers(seen), Forms(seen)
    forms.fill(number["Your name"], "Ada\x00 Löv\ud800e")
    forms.choose(number["Country"], " germany ")
    forms.choose(number["size"], "s")
    forms.check(number["I agree"], None)
    visit = forms.press(number["Save"])
    assert (visit.method, visit.url) == ("POST", "http://shop.test/send")
    assert visit.body == (
        b"token=t%261&name=Ada+L%C3%B6ve&comment=as+it+was&country=DE&size=s&terms=on&q=&billing%5Bzip_code%5D="
        b"&fixed=2&f=&do=save"
    )
    assert b"do=Delete" in (forms.press(number["Delete"]).body or b"")
    # Enter in a field presses the first button.
    assert forms.press(number["Your name"]) == visit


def test_a_get_form_replaces_the_query() -> None:
    seen = page("<form action='find?old=1'><input name=q><button>Go</button></form>")
    forms = Forms(seen)
    forms.fill(1, "a b&c")
    assert forms.press(2).url == "http://shop.test/dir/find?q=a+b%26c"


def test_a_multipart_form_is_sent_in_parts() -> None:
    seen = page("<form method=post enctype='multipart/form-data'><input name='a\"b' value=1><button>Go</button></form>")
    visit = Forms(seen).press(2)
    assert visit.content_type.startswith("multipart/form-data; boundary=")
    assert b'name="a%22b"\r\n\r\n1\r\n' in (visit.body or b"")


Act = Callable[[Forms, dict[str, int]], object]


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda forms, of: forms.press(of["Save"]), "Please fill in: Your name"),
        (lambda forms, of: forms.press(of["Nothing"]), "Nothing happened"),
        (lambda forms, of: forms.press(99), "no such thing"),
        (lambda forms, of: forms.press(None), "no such thing"),
        (lambda forms, of: forms.fill(of["Country"], "x"), "is a select"),
        (lambda forms, of: forms.choose(of["Country"], "Mars"), 'does not offer "Mars"'),
        (lambda forms, of: forms.check(of["Save"], None), "is a button"),
        (lambda forms, of: forms.press(of["Reset"]), "as it was|how it was"),
    ],
)
def test_an_impossible_action_is_an_error(act: Act, error: str) -> None:
    seen = page(FORM)
    with pytest.raises(ActionNotPossible, match=error):
        act(Forms(seen), numbers(seen))


def test_controls_outside_their_form_belong_to_it_by_name() -> None:
    seen = page("<form id=f action=/f></form><input form=f name=x value=1><button form=f formaction=/g>Go</button>")
    assert Forms(seen).press(2).url == "http://shop.test/g?x=1"


def test_a_page_is_bounded_whatever_is_sent() -> None:
    many = "".join(
        f"<a href='/{'x' * 900}{i}'>{'word ' * 90}</a><form action=/{i}><input name={i}></form>" for i in range(2_000)
    )
    seen = page(f"<p>{'long ' * 20_000}</p>{many}<select>{'<option>o' * 3_000}</select>")
    assert len(seen.text) <= 20_000
    assert len(seen.by_number) <= 700
    stored = json.dumps(seen.as_json)
    assert len(stored) < 1_000_000
    assert Page.from_json(json.loads(stored)) == seen


MALICIOUS = {
    "deep": "<div>" * 40_000,
    "lists": "<ul><li>" * 30_000,
    "formatting": "".join(f"<p><font a={i}>x" for i in range(16_000)),
    "misnested": "<i>" * 60_000 + "</b>" * 60_000,
    "attributes": "<a " + " ".join(f"a{i}=1" for i in range(60_000)) + ">",
    "quotes": '<a b="' * 50_000,
    "hidden depth": "<x><div></x>" * 30_000,
    "unclosed script": "<script></scrip" * 30_000,
    "comments": "<!-- --" * 60_000,
    "less than": "<" * 500_000,
    "labels": "<label>" * 20_000 + "x<br>" * 50_000,
    "blanks": "<a " + " " * 500_000,
}


@pytest.mark.parametrize("html", MALICIOUS.values(), ids=MALICIOUS)
def test_no_page_takes_long(html: str) -> None:
    began = time.process_time()
    seen = page(html)
    # Without guards most of these take the parser from ten seconds to forever.
    assert time.process_time() - began < 3
    assert len(seen.text) <= 20_000


def test_a_long_page_reads_the_same_as_a_short_one() -> None:
    body = (
        FORM
        + "<h2>Head</h2><p>A &lt;b&gt; &amp;copy <b>bold</b> text<p>Next<ul><li>one<li>two</ul>"
        + "<table><tr><td>a<td>b</table>"
    )
    body += "<a href='?a=1&copy=2' title=\"it's\">Link</a><div hidden>no</div><textarea><b>raw</b></textarea>"
    padding = "<!-- " + "-" * 40_000 + " -->"
    assert "<i" in sanitize_html("<i>x").html
    assert "<i" not in sanitize_html("<i>x" + padding).html
    assert page(body + padding) == page(body)


@given(html=st.text(alphabet=st.sampled_from("<>/=\"' abphi&;#x0-!\x00\ud800é\n"), max_size=200))
@example(html="<a href='http://[bad'>x</a>")
@example(html="<form id=a><input form=b><select><option></form><label for>")
@pytest.mark.parametrize("padding", ["", " " * 40_000], ids=["short", "long"])
def test_any_html_is_a_page_that_can_be_stored(html: str, padding: str) -> None:
    seen = page(html + padding)
    stored = json.dumps(seen.as_json)
    assert "\\u0000" not in stored
    assert "\\ud800" not in stored
    Forms(seen).elements()


def test_plain_text_is_a_page() -> None:
    assert read_text("a\x00  b\n\ud800c").text == "a b c"


@pytest.mark.parametrize(
    "blanks", [" " * 100_000, "\n\t" * 50_000, "<p> </p>" * 10_000], ids=["blanks", "lines", "tags"]
)
def test_blanks_do_not_count_towards_the_text(blanks: str) -> None:
    seen = page(f"<p>Begin</p>{blanks}<p>End</p>")
    assert seen.text == "Begin End"
    assert not seen.cut


def test_a_long_text_is_cut_and_the_rest_is_kept_for_success() -> None:
    seen = page(f"<p>{'word ' * 10_000}</p><p>the end")
    assert seen.cut
    assert len(seen.text) <= 20_000
    assert (seen.text + seen.rest).endswith("word the end")
    assert Page.from_json(json.loads(json.dumps(seen.as_json))) == seen


def test_a_page_with_many_checkboxes_shows_its_button() -> None:
    boxes = "".join(f"<input type=checkbox name=c{i}>" for i in range(250))
    seen = page(f"<form action=/f>{boxes}<button>Go</button></form>")
    assert [control.label for control in seen.by_number.values()][-1] == "Go"
    assert seen.cut


@pytest.mark.parametrize(
    "fields",
    [
        "<input type=hidden name=h value=x>" * 45_000,
        "".join(f"<input type=hidden name=h{i} value={'x' * 60_000}>" for i in range(8)),
        "<div>" * 1_100 + "<select name=s><option>x</select>",
    ],
    ids=["tags", "bytes", "depth"],
)
def test_a_form_beyond_the_bounds_is_not_sent_in_part(fields: str) -> None:
    seen = page(f"<form action=/f><button>Go</button>{fields}</form><form action=/g><button>Other</button></form>")
    forms = Forms(seen)
    with pytest.raises(ActionNotPossible, match="too large"):
        forms.press(1)
    if len(seen.by_number) > 1:
        assert forms.press(2).url == "http://shop.test/g?"


def test_a_form_that_is_open_where_the_page_breaks_off_is_not_sent() -> None:
    seen = read_html("<form action=/a><button>A</button></form><form action=/b><button>B</button><p>x", URL, cut=True)
    assert Forms(seen).press(1).url == "http://shop.test/a?"
    with pytest.raises(ActionNotPossible, match="too large"):
        Forms(seen).press(2)


def test_a_select_with_many_options_shows_some_and_sends_any() -> None:
    options = "".join(f"<option>o{i}" for i in range(500))
    forms = Forms(page(f"<form action=/f><select name=s>{options}</select><button>Go</button></form>"))
    assert len(forms.elements()[0].options) == 300
    forms.choose(1, "o499")
    assert forms.elements()[0].options[-1] == "o499"
    assert forms.press(2).url.endswith("?s=o499")


def test_a_select_that_accepts_several_takes_each_and_gives_it_back() -> None:
    forms = Forms(page("<form><select multiple name=s aria-label=S><option>a<option>b<option>c</select><button>Go"))
    for option in ("a", "c", "a", "b"):
        forms.choose(1, option)
    assert forms.elements()[0].label == "S (several possible)"
    assert forms.elements()[0].value == "b, c"
    restored = Forms(
        page("<form><select multiple name=s><option>a<option>b<option>c</select><button>Go"), forms.as_json()
    )
    assert restored.press(2).url.endswith("?s=b&s=c")


def test_a_field_says_which_values_it_takes() -> None:
    forms = Forms(
        page("<form><input type=date name=d aria-label=Day><input type=number name=n aria-label=N><button>Go")
    )
    assert forms.elements()[0].label == "Day (YYYY-MM-DD)"
    for number, typed in ((1, "tomorrow"), (2, "many")):
        with pytest.raises(ActionNotPossible, match="takes only"):
            forms.fill(number, typed)
    assert forms.press(3).url.endswith("?d=&n=")


@pytest.mark.parametrize(
    ("html", "needed"),
    [
        ("<script src=/a.js></script><div id=root></div>", True),
        (
            "<noscript>You need to enable JavaScript to run this app.</noscript><div id=root></div><script></script>",
            True,
        ),
        (
            "<script></script><noscript><img src=/count></noscript><p>A page with enough words to be read by people.",
            False,
        ),
        ("<script></script><a href=/x>In</a>", False),
        ("", False),
        ("<p>Short", False),
    ],
)
def test_a_page_of_scripts_only_needs_them(html: str, needed: bool) -> None:
    assert page(html).needs_scripts is needed


def test_names_are_those_of_accessibility() -> None:
    seen = page(
        "<p id=a>Your</p><p id=b>city</p><input name=x aria-labelledby='a b'>"
        "<button title=Search></button><input type=checkbox name=t title='Terms'>"
        "<fieldset><legend>Size of the cup</legend><label><input type=radio name=z value=1>Small</label></fieldset>"
    )
    assert list(numbers(seen)) == ["Your city", "Search", "Terms", "Size of the cup"]


def test_an_older_worker_can_read_the_stored_forms() -> None:
    stored = page("<form accept-charset=koi8-r enctype=text/plain method=post><button>Go</form>").as_json
    assert stored["forms"] == [{"action": URL, "method": "post"}]
    assert stored["form_details"] == [{"charset": "koi8-r", "plain": True}]


def test_a_name_may_begin_with_many_blanks() -> None:
    blanks = " \n" * 2_000
    assert links(f"<a href=/x>{blanks}Far</a>") == [("Far", "http://shop.test/x")]
    assert page(f"<title>{blanks}Far</title>").title == "Far"
