"""Cases of form owners, of buttons, and of the address to which a form is sent."""

from tests.web_suite.cases import SEND, Case, get, post

_IN_TABLE = "<table><form method=post action=/echo><tr><td><input name=a value=1><input type=hidden name=h value=2>"

OWNER_CASES = (
    Case("owner: form in a table", f"{_IN_TABLE}<tr><td>{SEND}</table>"),
    Case("owner: form in a table, closed in a cell", f"{_IN_TABLE}<tr><td>{SEND}</form></table>"),
    Case("owner: form in a table, closed after it", f"{_IN_TABLE}<tr><td>{SEND}</table></form>"),
    Case(
        "owner: form in a table row",
        f"<table><tr><form action=/echo><td><input name=a value=1><td>{SEND}</form></table>",
    ),
    Case(
        "owner: two forms in one table",
        "<table><form action=/one><tr><td><input name=a value=1><button>One</button></form>"
        f"<form action=/two><tr><td><input name=b value=2>{SEND}</form></table>",
    ),
    Case(
        "owner: input between table and row",
        f"<table><form action=/echo><input name=a value=1><tr><td>{SEND}</form></table>",
    ),
    Case(
        "owner: hidden input in a table",
        f"<form action=/echo><table><input type=hidden name=a value=1><tr><td>{SEND}</table></form>",
    ),
    Case(
        "owner: a form in a form is ignored",
        f"<form action=/echo><form action=/inner><input name=a value=1></form><input name=b>{SEND}</form>",
    ),
    Case(
        "owner: end tag inside a division",
        f"<form action=/echo><div><input name=a></form><input name=b value=2>{SEND}</div>",
    ),
    Case(
        "owner: unclosed division",
        f"<div><form action=/echo><div><input name=a></form></div><input name=b>{SEND}</div>",
        ("press Send",),
    ),
    Case("owner: form never closed", f"<form action=/echo><p><input name=a value=1><p>{SEND}"),
    Case(
        "owner: by the attribute form",
        f"<form id=f action=/echo></form><input form=f name=x value=1>{SEND.replace('<button', '<button form=f')}",
    ),
    Case(
        "owner: attribute form names another form",
        f"<form id=f action=/f><input name=a></form><form action=/echo><input name=b form=f><input name=c>{SEND}</form>",
    ),
    Case("owner: attribute form names nothing", get("<input name=a form=none><input name=b>")),
    Case("owner: empty attribute form", get("<input name=a form=''><input name=b>")),
    Case("owner: attribute form names what is no form", get("<p id=p>x</p><input name=a form=p><input name=b>")),
    Case(
        "owner: the first element of an id counts",
        "<p id=f></p><form id=f action=/f></form>" + get("<input name=a form=f>"),
    ),
    Case(
        "owner: fields before the form by attribute",
        f"<input form=f name=x value=1><form id=f action=/echo><input name=y>{SEND}</form>",
    ),
    Case(
        "owner: a form in a comment",
        f"<!-- <form action=/no> --><form action=/echo><!-- </form> --><input name=a>{SEND}</form>",
    ),
    Case(
        "owner: a form in an attribute",
        f"<p title='<form action=/no>'><form action=/echo title='</form>'><input name=a>{SEND}</form>",
    ),
    Case(
        "owner: a form in a script",
        f"<script>'<form>'</script><form action=/echo><script>'</form>'</script><input name=a>{SEND}</form>",
    ),
    Case(
        "owner: a form in a textarea",
        f"<textarea><form></textarea><form action=/echo><textarea name=t></form></textarea><input name=a>{SEND}</form>",
    ),
    Case(
        "owner: a form in a template",
        f"<template><form action=/no><input name=n></form></template><form action=/echo><template><input name=t></form></template><input name=a>{SEND}</form>",
    ),
    Case(
        "owner: misnested formatting", f"<b><form action=/echo><i><input name=a></b><p><input name=b></i>{SEND}</form>"
    ),
    Case("owner: upper case", f"<TABLE><FORM ACTION=/echo><TR><TD><INPUT NAME=a VALUE=1><TR><TD>{SEND}</FORM></TABLE>"),
    Case(
        "owner: fields in fallback content",
        get(
            "<object><input name=o value=1></object><video><input name=v value=1></video><canvas><input name=c></canvas>"
        ),
    ),
    Case("owner: fields in a datalist", get("<datalist id=d><input name=no value=1></datalist><input name=a list=d>")),
    Case("owner: fields in an option list", get("<ul><li><input name=a value=1><li><input name=b value=2></ul>")),
    Case(
        "button: name and value", post("<input name=a>", send="<button name=do value=save aria-label=Send>x</button>")
    ),
    Case(
        "button: only the pressed one",
        post(
            "<button name=do value=one>One</button>",
            send="<input type=submit name=do value=two aria-label=Send><input type=submit name=do value=three>",
        ),
    ),
    Case(
        "button: in the middle",
        post("<input name=a>", send="<button name=b value=1 aria-label=Send>x</button><input name=c>"),
    ),
    Case("button: name without a value", post("", send="<button name=b aria-label=Send>x</button>")),
    Case("button: input without a value", post("", send="<input type=submit name=b aria-label=Send>")),
    Case("button: input with an empty value", post("", send="<input type=submit name=b value='' aria-label=Send>")),
    Case(
        "button: unknown type submits", post("<input name=a>", send="<button type=nonsense aria-label=Send>x</button>")
    ),
    Case("button: of type button", post("<input name=a>", send="<button type=button aria-label=Send>x</button>")),
    Case("button: of type reset", post("<input name=a>", send="<button type=reset aria-label=Send>x</button>")),
    Case(
        "button: reset brings back what was there",
        post(
            "<input name=a value=1 aria-label=A><select name=s aria-label=S><option>x<option selected>y</select><button type=reset aria-label=Reset>r</button>"
        ),
        ("fill A=2", "choose S=x", "press Reset", "press Send"),
    ),
    Case(
        "button: image by keyboard",
        post("", send="<input type=image name=b src=/x.png alt=x aria-label=Send>"),
        ("enter Send",),
    ),
    Case(
        "button: image without a name",
        get("<input name=a>", send="<input type=image src=/x.png alt=x aria-label=Send>"),
        ("enter Send",),
    ),
    Case(
        "button: image with a value",
        get("", send="<input type=image name=b value=v src=/x.png alt=x aria-label=Send>"),
        ("enter Send",),
    ),
    Case(
        "button: text around a nested tag",
        post("", send="<button name=b value=1 aria-label=Send><b>x</b><i>y</i></button>"),
    ),
    Case("button: formaction", post("<input name=a>", send="<button formaction=/other aria-label=Send>x</button>")),
    Case("button: empty formaction", post("<input name=a>", send="<button formaction='' aria-label=Send>x</button>")),
    Case(
        "button: formmethod", post("<input name=a value=1>", send="<button formmethod=get aria-label=Send>x</button>")
    ),
    Case(
        "button: unknown formmethod",
        post("<input name=a value=1>", send="<button formmethod=put aria-label=Send>x</button>"),
    ),
    Case(
        "button: empty formmethod",
        post("<input name=a value=1>", send="<button formmethod='' aria-label=Send>x</button>"),
    ),
    Case(
        "button: formenctype",
        post("<input name=a value=1>", send="<button formenctype=multipart/form-data aria-label=Send>x</button>"),
    ),
    Case(
        "button: formenctype of text",
        post("<input name=a value=1>", send="<button formenctype=text/plain aria-label=Send>x</button>"),
    ),
    Case(
        "button: unknown formenctype",
        post("<input name=a value=1>", "enctype=text/plain", send="<button formenctype=x/y aria-label=Send>x</button>"),
    ),
    Case(
        "button: formnovalidate",
        post("<input name=a required>", send="<button formnovalidate aria-label=Send>x</button>"),
    ),
    Case(
        "button: formmethod dialog", post("<input name=a>", send="<button formmethod=dialog aria-label=Send>x</button>")
    ),
    Case("button: disabled", post("<button disabled name=b value=1>x</button>")),
    Case(
        "action: query is replaced by GET",
        get("<input name=a value='1 2'>", "action='/find?old=1'").replace("action=/echo ", ""),
    ),
    Case("action: query is kept by POST", post("<input name=a>").replace("action=/echo", "action='/find?old=1'")),
    Case("action: fragment", get("<input name=a>").replace("action=/echo", "action='/find#part'")),
    Case("action: missing, by GET", get("<input name=a value=1>").replace("action=/echo", "")),
    Case("action: missing, by POST", post("<input name=a value=1>").replace("action=/echo", "")),
    Case(
        "action: empty with base",
        "<base href=/other/>" + post("<input name=a value=1>").replace("action=/echo", "action=''"),
    ),
    Case(
        "action: relative with base",
        "<base href=/other/>" + post("<input name=a>").replace("action=/echo", "action=sub?x=1"),
    ),
    Case("action: only a query", post("<input name=a>").replace("action=/echo", "action='?x=1'")),
    Case("action: only a fragment", get("<input name=a>").replace("action=/echo", "action='#x'")),
    Case("action: blanks around", post("<input name=a>").replace("action=/echo", "action='  /echo\n '")),
    Case("action: dots", post("<input name=a>").replace("action=/echo", "action='/x/../y/./z'")),
    Case("action: letters beyond ASCII", get("<input name=a>").replace("action=/echo", "action='/caf\u00e9'")),
    Case("action: a blank in the path", get("<input name=a>").replace("action=/echo", "action='/a b'")),
    Case("action: mailto", post("<input name=a>").replace("action=/echo", "action='mailto:a@b.test'")),
    Case("action: javascript", post("<input name=a>").replace("action=/echo", "action='javascript:void(0)'")),
    Case("action: data", post("<input name=a>").replace("action=/echo", "action='data:text/html,x'")),
    Case("method: unknown", get("<input name=a value=1>", "method=put")),
    Case("method: upper case", get("<input name=a value=1>", "method=POST")),
    Case("method: blanks around", get("<input name=a value=1>", "method=' post '")),
    Case("method: GET without any field", get("")),
    Case("method: POST without any field", post("")),
    Case("method: GET ignores the enctype", get("<input name=a value=1>", "enctype=multipart/form-data")),
)
