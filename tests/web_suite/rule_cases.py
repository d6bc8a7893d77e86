"""Cases of the rules that a form is checked against, of Enter in a field, and of encodings."""

from tests.web_suite.cases import Case, get, post


def _typed(name: str, field: str, value: str) -> Case:
    return Case(
        f"rule: {name}",
        post(field.replace("<input", "<input name=a aria-label=A", 1)),
        (f"fill A={value}", "press Send"),
    )


def _written(name: str, fields: str) -> Case:
    return Case(f"rule: {name}", post(fields))


_PAIR = "<input name=a aria-label=A><input name=b aria-label=B>"

RULE_CASES = (
    _written("required text", "<input name=a required>"),
    _written("required text of blanks", "<input name=a required value=' '>"),
    _written("required but disabled", "<input name=a required disabled>"),
    _written("required but readonly", "<input name=a required readonly>"),
    _written("required but hidden type", "<input type=hidden name=a required>"),
    _written("required but without a name", "<input required>"),
    _written("required but not displayed", "<p style='display:none'><input name=a required></p>"),
    _written("required in a datalist", "<datalist><input name=a required></datalist>"),
    _written("required textarea", "<textarea name=a required></textarea>"),
    _written("required checkbox", "<input type=checkbox name=a required>"),
    _written("required and checked checkbox", "<input type=checkbox name=a required checked>"),
    _written("required radio", "<input type=radio name=a><input type=radio name=a required>"),
    _written(
        "required radio with another checked", "<input type=radio name=a checked><input type=radio name=a required>"
    ),
    _written("required select with a placeholder", "<select name=a required><option value=''>Choose<option>x</select>"),
    _written(
        "required select with a disabled placeholder",
        "<select name=a required><option value='' disabled selected>Choose<option>x</select>",
    ),
    _written(
        "required select with a disabled text",
        "<select name=a required><option disabled selected>Choose<option>x</select>",
    ),
    _written(
        "required select with an empty later option",
        "<select name=a required><option>x<option value='' selected>none</select>",
    ),
    _written(
        "required select with an empty option in a group",
        "<select name=a required><optgroup><option value=''>x</optgroup></select>",
    ),
    _written("required select of a size", "<select name=a required size=2><option value=''>x<option>y</select>"),
    _written(
        "required select of a size with an empty option",
        "<select name=a required size=2><option value='' selected>x<option>y</select>",
    ),
    _written("required multiple select", "<select name=a required multiple><option>x</select>"),
    _written("required file", "<input type=file name=a required>"),
    _written("required color and range", "<input type=color name=a required><input type=range name=b required>"),
    _written("required number of nonsense", "<input type=number name=a value=x required>"),
    _typed("email", "<input type=email>", "a@b.test"),
    _typed("email without a host", "<input type=email>", "a@"),
    _typed("email without an at", "<input type=email>", "ada"),
    _typed("email without a dot", "<input type=email>", "a@localhost"),
    _typed("email with a blank inside", "<input type=email>", "a b@c.test"),
    _typed("email with two dots", "<input type=email>", "a@b..test"),
    _typed("email with a hyphen at the end", "<input type=email>", "a@b-.test"),
    _typed("email, empty", "<input type=email>", ""),
    _typed("several emails", "<input type=email multiple>", "a@b.test, c@d.test"),
    _typed("several emails, one wrong", "<input type=email multiple>", "a@b.test, c"),
    _typed("several emails without multiple", "<input type=email>", "a@b.test,c@d.test"),
    _written("email as written", "<input type=email name=a value=nonsense>"),
    _typed("url", "<input type=url>", "http://a.test"),
    _typed("url of another scheme", "<input type=url>", "foo:bar"),
    _typed("url without a scheme", "<input type=url>", "www.a.test"),
    _typed("url without a host", "<input type=url>", "http://"),
    _typed("url with a blank in its host", "<input type=url>", "http://a b.test"),
    _typed("url that is relative", "<input type=url>", "/path"),
    _typed("pattern", "<input pattern='[0-9]{3}'>", "123"),
    _typed("pattern, not the whole", "<input pattern='[0-9]{3}'>", "1234"),
    _typed("pattern of alternatives", "<input pattern='ab|cd'>", "abx"),
    _typed("pattern, empty value", "<input pattern='[0-9]{3}'>", ""),
    _typed("pattern that looks ahead", "<input pattern='(?=.*[0-9])(?=.*[a-z]).{4,}'>", "ab12"),
    _typed("pattern that looks ahead, not met", "<input pattern='(?=.*[0-9])(?=.*[a-z]).{4,}'>", "abcd"),
    _typed("pattern that is no expression", "<input pattern='[0-9'>", "abc"),
    _typed("pattern that only older rules allow", "<input pattern='[a-z_.-]+'>", "a.b"),
    _typed("pattern with an escaped hyphen", "<input pattern='[a-z\\-]+'>", "a-b"),
    _typed("pattern with digits of all scripts", "<input pattern='\\d+'>", "\u0661"),
    _typed("pattern with letters of all scripts", "<input pattern='\\p{L}+'>", "\u00e9"),
    _typed("pattern with a code point", "<input pattern='\\u{e9}+'>", "\u00e9"),
    _typed("pattern with a set", "<input pattern='[\\w--[0-9]]+'>", "a1"),
    _typed("pattern does not ignore case", "<input pattern='abc'>", "ABC"),
    _typed("pattern of an email", "<input type=email pattern='.+@b\\.test'>", "a@c.test"),
    _typed("pattern of a number is ignored", "<input type=number pattern='x'>", "1"),
    _typed("minlength", "<input minlength=3>", "ab"),
    _typed("minlength, met", "<input minlength=3>", "abc"),
    _typed("minlength, empty value", "<input minlength=3>", ""),
    _typed("minlength in UTF-16", "<input minlength=3>", "a\U0001f600"),
    _written("minlength as written", "<input name=a minlength=3 value=a>"),
    Case(
        "rule: minlength of a textarea",
        post("<textarea name=a minlength=3 aria-label=A></textarea>"),
        ("fill A=ab", "press Send"),
    ),
    _typed("number below min", "<input type=number min=2>", "1"),
    _typed("number above max", "<input type=number max=2>", "3"),
    _typed("number within", "<input type=number min=1 max=3>", "2"),
    _typed("number, default step", "<input type=number>", "1.5"),
    _typed("number, step", "<input type=number step=0.5>", "1.5"),
    _typed("number, step not met", "<input type=number step=0.5>", "1.7"),
    _typed("number, step from min", "<input type=number min=1 step=2>", "3"),
    _typed("number, step from the default value", "<input type=number value=1 step=2>", "4"),
    _typed("number, step of any", "<input type=number step=any>", "1.2345"),
    _typed("number, step of nonsense", "<input type=number step=-1>", "1.5"),
    _typed("number with an exponent", "<input type=number>", "1e2"),
    _written("number below min as written", "<input type=number name=a min=5 value=1>"),
    _typed("date below min", "<input type=date min=2026-01-01>", "2025-12-31"),
    _typed("date above max", "<input type=date max=2026-01-01>", "2026-01-02"),
    _typed("date, step", "<input type=date min=2026-01-01 step=7>", "2026-01-09"),
    _typed("date, step met", "<input type=date min=2026-01-01 step=7>", "2026-01-08"),
    _typed("month above max", "<input type=month max=2026-06>", "2026-07"),
    _typed("week below min", "<input type=week min=2026-W10>", "2026-W09"),
    _typed("time within", "<input type=time min=09:00 max=17:00>", "12:00"),
    _typed("time above max", "<input type=time min=09:00 max=17:00>", "18:00"),
    _typed("time over midnight", "<input type=time min=22:00 max=06:00>", "23:00"),
    _typed("time over midnight, outside", "<input type=time min=22:00 max=06:00>", "12:00"),
    _typed("time, step", "<input type=time step=900>", "12:10"),
    _typed("time with seconds", "<input type=time>", "12:10:30"),
    _typed("local date and time below min", "<input type=datetime-local min=2026-01-01T00:00>", "2025-12-31T23:59"),
    Case("rule: novalidate", post("<input name=a required>", "novalidate")),
    Case("enter: one field without a button", get("<input name=a value=1 aria-label=A>", send=""), ("enter A",)),
    Case("enter: two fields without a button", get(_PAIR, send=""), ("enter A",)),
    Case(
        "enter: a field and a checkbox without a button",
        get("<input name=a aria-label=A><input type=checkbox name=c checked>", send=""),
        ("enter A",),
    ),
    Case(
        "enter: two fields and a button",
        get(_PAIR, send="<button name=b value=1>x</button><button name=b value=2>y</button>"),
        ("enter B",),
    ),
    Case(
        "enter: the default button is disabled",
        get("<input name=a aria-label=A>", send="<button disabled>x</button><button name=b value=2>y</button>"),
        ("enter A",),
    ),
    Case(
        "enter: the default button is not displayed",
        get(
            "<input name=a aria-label=A>",
            send="<button style='display:none' name=b value=1>x</button><button name=b value=2>y</button>",
        ),
        ("enter A",),
    ),
    Case(
        "enter: the default button is an image",
        get("<input name=a aria-label=A>", send="<input type=image name=i>"),
        ("enter A",),
    ),
    Case(
        "enter: only a button of type button",
        get("<input name=a aria-label=A>", send="<button type=button>x</button>"),
        ("enter A",),
    ),
    Case(
        "enter: button by the attribute form",
        "<button form=f name=b value=1>x</button>"
        + get("<input name=a aria-label=A>", "id=f", send="<button name=b value=2>y</button>"),
        ("enter A",),
    ),
    Case("enter: in a checkbox", get("<input type=checkbox name=a aria-label=A>"), ("enter A",)),
    Case(
        "enter: in a checkbox without a button", get("<input type=checkbox name=a aria-label=A>", send=""), ("enter A",)
    ),
    Case("enter: with a required field", get("<input name=a required aria-label=A>", send=""), ("enter A",)),
    Case(
        "enter: button that does not validate",
        get("<input name=a required aria-label=A>", send="<button formnovalidate>x</button>"),
        ("enter A",),
    ),
    Case("encoding: Latin-1", post("<input name=\u00e9 value='\u00e9\u20ac\u65e5'>"), charset="iso-8859-1"),
    Case("encoding: Latin-1 by GET", get("<input name=a value='\u00e9 \u20ac'>"), charset="windows-1252"),
    Case("encoding: Shift_JIS", post("<input name=a value='\u65e5\u672c\u00e9\u2460'>"), charset="shift_jis"),
    Case("encoding: EUC-JP", post("<input name=a value='\u65e5\u672c'>"), charset="euc-jp"),
    Case("encoding: ISO-2022-JP", post("<input name=a value='\u65e5\u672cx'>"), charset="iso-2022-jp"),
    Case("encoding: Big5", post("<input name=a value='\u4e2d\u6587'>"), charset="big5"),
    Case("encoding: GBK", post("<input name=a value='\u4e2d\u6587\u20ac'>"), charset="gbk"),
    Case("encoding: GB18030", post("<input name=a value='\u4e2d\U0001f600'>"), charset="gb18030"),
    Case("encoding: EUC-KR", post("<input name=a value='\ud55c\uae00'>"), charset="euc-kr"),
    Case("encoding: KOI8-R", post("<input name=a value='\u0434\u0430'>"), charset="koi8-r"),
    Case("encoding: Windows-1251", post("<input name=a value='\u0434\u0430'>"), charset="windows-1251"),
    Case("encoding: Hebrew", post("<input name=a value='\u05d0'>"), charset="iso-8859-8-i"),
    Case("encoding: UTF-16", post("<input name=a value='\u00e9'>"), charset="utf-16le"),
    Case(
        "encoding: by meta",
        "<meta charset=iso-8859-2>" + post("<input name=a value=x aria-label=A>"),
        ("fill A=\u0159\u20ac", "press Send"),
        charset="",
    ),
    Case(
        "encoding: _charset_",
        post("<input type=hidden name=_charset_><input name=a value=\u00e9>"),
        charset="iso-8859-1",
    ),
    Case(
        "encoding: multipart",
        post("<input name=\u00e9 value='\u20ac\u65e5'>", "enctype=multipart/form-data"),
        charset="iso-8859-1",
    ),
    Case("encoding: text", post("<input name=a value='\u00e9\u65e5'>", "enctype=text/plain"), charset="iso-8859-1"),
    Case(
        "encoding: accept-charset",
        post("<input name=a value=\u00e9\u20ac><input type=hidden name=_charset_>", "accept-charset=iso-8859-1"),
    ),
    Case(
        "encoding: accept-charset of several",
        post("<input name=a value=\u00e9>", "accept-charset='nonsense koi8-r utf-8'"),
    ),
    Case(
        "encoding: accept-charset with commas", post("<input name=a value=\u00e9>", "accept-charset='nonsense,latin1'")
    ),
    Case(
        "encoding: accept-charset of nonsense",
        post("<input name=a value=\u00e9>", "accept-charset=nonsense"),
        charset="iso-8859-1",
    ),
    Case("encoding: accept-charset UTF-16", post("<input name=a value=\u00e9>", "accept-charset=utf-16")),
    Case(
        "encoding: query of the action",
        post("<input name=a>").replace("action=/echo", "action='/x?y=\u00e9'"),
        charset="iso-8859-1",
    ),
    Case(
        "encoding: no declaration",
        post("<input name=a value=x aria-label=A>"),
        ("fill A=\u00e9", "press Send"),
        charset="",
        differs="without a declaration we take UTF-8, which most such pages are",
    ),
    Case(
        "xhtml: fields after a script that closes itself",
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title><script src="/x.js"/></head><body>'
        '<form action="/echo"><p><input name="a" value="1"/><textarea name="t"/><select name="s"><option>x</option></select>'
        '<button aria-label="Send">Send</button></p></form></body></html>',
        charset="",
        content_type="application/xhtml+xml",
    ),
)
