"""Cases of the fields of a form: which are sent, in which order, and with which values."""

from tests.web_suite.cases import SEND, Case, get, post

_RADIOS = (
    "<input type=radio name=r value=1 aria-label=One><input name=mid><input type=radio name=r value=2 aria-label=Two>"
)
_SIZES = "<select name=s aria-label=S {}><option>Small<option>Medium<option>Large</select>"
_GROUPS = "<select name=s aria-label=S><optgroup label=A {}><option>a<optgroup label=B><option>b</select>"

FIELD_CASES = (
    Case("text: without a name", post("<input value=1><input name='' value=2>")),
    Case("text: typed", post("<input name=a aria-label=A>"), ("fill A=Ada L\u00f6ve & Co +%", "press Send")),
    Case("text: reserved characters", post('<input name="a*-._~!\'()[]" value="*-._~!\'()[] +%&=;,/?:@$">')),
    Case("text: line breaks in the value", post("<input name=a value='x&#10;y&#13;z'>")),
    Case("text: line breaks in the name", post("<input name='a&#10;b&#13;c' value=1>")),
    Case("text: default and unknown type", post("<input name=a value=1><input type=nonsense name=b value=2>")),
    Case("text: upper case type", post("<input type=HIDDEN name=a value=1><input type=CHECKBOX name=b checked>")),
    Case("text: blanks are kept", post("<input name=a value='  x  '>")),
    Case(
        "text: null and controls",
        post("<input name=a value='x&#1;&#9;y'>"),
        differs="control characters cannot be stored, so that a person does not have them",
    ),
    Case("text: duplicate names", post("<input name=a value=1><input name=a value=2><textarea name=a>3</textarea>")),
    Case("text: readonly is sent", post("<input name=a value=1 readonly><textarea name=b readonly>2</textarea>")),
    Case(
        "text: disabled is not sent",
        post(
            "<input name=a value=1 disabled><textarea name=b disabled>2</textarea><select name=c disabled><option>x</select>"
        ),
    ),
    Case("text: longer than maxlength as written", post("<input name=a maxlength=3 value=abcdef>")),
    Case(
        "text: typed beyond maxlength", post("<input name=a maxlength=3 aria-label=A>"), ("fill A=abcdef", "press Send")
    ),
    Case("text: name isindex", get("<input name=isindex value=x>")),
    Case("text: astral characters", post("<input name=a value='\U0001f600 \u20ac'>")),
    Case(
        "text: search, tel, password",
        post(
            "<input type=search name=s value=1><input type=tel name=t value=' 2 '><input type=password name=p value=3>"
        ),
    ),
    Case("email: blanks are removed", post("<input type=email name=a value='  a@b.test  '>")),
    Case("email: several", post("<input type=email multiple name=a value=' a@b.test , c@d.test '>")),
    Case("url: blanks are removed", post("<input type=url name=a value=' http://a.test '>")),
    Case("hidden: line breaks", post("<input type=hidden name=a value='x&#10;y&#13;z&#13;&#10;'>")),
    Case("hidden: _charset_", post("<input type=hidden name=_charset_ value=x><input name=_charset_ value=y>")),
    Case("hidden: _charset_ in upper case", post("<input type=hidden name=_CHARSET_>")),
    Case("hidden: without a value", post("<input type=hidden name=a>")),
    Case("number: valid", post("<input type=number name=a value=7>")),
    Case(
        "number: invalid value",
        post(
            "<input type=number name=a value=abc><input type=number name=b value=' 7 '><input type=number name=c value=1e3>"
        ),
    ),
    Case("number: typed", post("<input type=number name=a aria-label=A step=any>"), ("fill A=-1.5", "press Send")),
    Case(
        "range: default",
        post("<input type=range name=a><input type=range name=b min=10 max=20><input type=range name=c min=20 max=10>"),
    ),
    Case(
        "range: beyond its bounds",
        post("<input type=range name=a value=200><input type=range name=b value=-3><input type=range name=c value=x>"),
    ),
    Case(
        "range: steps",
        post(
            "<input type=range name=a value=33 step=10><input type=range name=b min=5 step=10 value=12><input type=range name=c step=any value=1.25>"
        ),
    ),
    Case(
        "range: half steps",
        post(
            "<input type=range name=a value=35 step=10><input type=range name=b min=0 max=1 step=0.1 value=0.55><input type=range name=c max=7 step=2>"
        ),
    ),
    Case("range: typed", post("<input type=range name=a aria-label=A>"), ("fill A=20", "press Send")),
    Case(
        "color: default",
        post("<input type=color name=a><input type=color name=b value=#ABCDEF><input type=color name=c value=red>"),
        differs="a color is known by its digits only",
    ),
    Case(
        "date: valid and invalid",
        post(
            "<input type=date name=a value=2026-02-28><input type=date name=b value=2026-02-30><input type=date name=c value=1.2.2026>"
        ),
    ),
    Case("date: typed", post("<input type=date name=a aria-label=A>"), ("fill A=2026-12-24", "press Send")),
    Case(
        "date: month and week",
        post(
            "<input type=month name=a value=2026-12><input type=month name=b value=2026-13><input type=week name=c value=2026-W53><input type=week name=d value=2025-W53>"
        ),
    ),
    Case(
        "date: time",
        post(
            "<input type=time name=a value=12:30><input type=time name=b value=25:00><input type=time name=c value=12:30:15.5>"
        ),
    ),
    Case(
        "date: local",
        post(
            "<input type=datetime-local name=a value=2026-12-24T18:30><input type=datetime-local name=b value='2026-12-24 18:30'><input type=datetime-local name=c value=2026-12-24>"
        ),
    ),
    Case(
        "date: local with seconds",
        post(
            "<input type=datetime-local name=a value=2026-12-24T18:30:00><input type=datetime-local name=b value=2026-12-24T18:30:05.120>"
        ),
    ),
    Case("textarea: first line break", post("<textarea name=a>\n\nx</textarea>")),
    Case("textarea: line breaks", post("<textarea name=a>x\ny\r\nz\rw</textarea>")),
    Case(
        "textarea: typed line breaks", post("<textarea name=a aria-label=A></textarea>"), ("fill A=x\ny", "press Send")
    ),
    Case("textarea: tags are text", post("<textarea name=a><b>x</b> &amp; </textarea>")),
    Case("textarea: default blanks", post("<textarea name=a>  x  </textarea>")),
    Case(
        "textarea: hard wrap",
        post("<textarea name=a cols=10 wrap=hard>aaaa bbbb cccc dddd</textarea>"),
        differs="where a line breaks depends on the font",
    ),
    Case(
        "textarea: typed beyond maxlength",
        post("<textarea name=a maxlength=3 aria-label=A></textarea>"),
        ("fill A=abcdef", "press Send"),
    ),
    Case(
        "checkbox: unchecked",
        post(
            "<input type=checkbox name=a><input type=checkbox name=b checked><input type=checkbox name=c value=7 checked>"
        ),
    ),
    Case("checkbox: empty value", post("<input type=checkbox name=a value='' checked>")),
    Case(
        "checkbox: checked by hand",
        post("<input type=checkbox name=a aria-label=A><input type=checkbox name=b checked aria-label=B>"),
        ("check A", "uncheck B", "press Send"),
    ),
    Case(
        "checkbox: same names",
        post(
            "<input type=checkbox name=a value=1 checked><input type=checkbox name=a value=2><input type=checkbox name=a value=3 checked>"
        ),
    ),
    Case("checkbox: disabled and checked", post("<input type=checkbox name=a checked disabled>")),
    Case("radio: none", post(_RADIOS)),
    Case("radio: chosen, in its place", post(_RADIOS), ("choose r=Two", "press Send")),
    Case("radio: the first chosen", post(_RADIOS), ("choose r=One", "press Send")),
    Case(
        "radio: empty and missing value",
        post("<input type=radio name=r value='' checked><input type=radio name=s checked>"),
    ),
    Case(
        "radio: the last checked one",
        post("<input type=radio name=r value=1 checked><input type=radio name=r value=2 checked>"),
    ),
    Case(
        "radio: disabled and checked",
        post("<input type=radio name=r value=1 checked disabled><input type=radio name=r value=2>"),
    ),
    Case(
        "radio: of two forms",
        "<form action=/x><input type=radio name=r value=0 checked></form>"
        + post("<input type=radio name=r value=1 checked>"),
    ),
    Case(
        "radio: two interleaved groups",
        post(
            "<input type=radio name=r value=1><input type=radio name=s value=2><input type=radio name=s value=3 checked><input type=radio name=r value=4 checked>"
        ),
    ),
    Case(
        "radio: names that differ in case",
        post("<input type=radio name=r value=1 checked><input type=radio name=R value=2 checked>"),
    ),
    Case(
        "radio: without a name",
        post("<input type=radio value=1 checked><input type=radio value=2 checked><input name=a>"),
    ),
    Case("select: first option", post(_SIZES.format(""))),
    Case("select: chosen", post(_SIZES.format("")), ("choose S=Large", "press Send")),
    Case("select: placeholder", post("<select name=s><option value=''>Choose<option>x</select>")),
    Case("select: disabled first option", post("<select name=s><option disabled>Choose<option>x</select>")),
    Case(
        "select: disabled and selected option",
        post("<select name=s><option disabled selected>Choose<option>x</select>"),
    ),
    Case("select: two selected options", post("<select name=s><option selected>a<option selected>b<option>c</select>")),
    Case("select: all disabled", post("<select name=s><option disabled>a<option disabled>b</select>")),
    Case("select: without options", post("<select name=s></select><input name=a>")),
    Case("select: size", post(_SIZES.format("size=3"))),
    Case("select: size, chosen", post(_SIZES.format("size=3")), ("choose S=Medium", "press Send")),
    Case(
        "select: size of one and of nonsense",
        post(_SIZES.format("size=1") + _SIZES.format("size=x").replace("name=s", "name=t")),
    ),
    Case("select: multiple, none", post(_SIZES.format("multiple"))),
    Case(
        "select: multiple, preselected",
        post(
            "<select multiple name=s><option selected>a<option>b<option selected>c<option selected disabled>d</select>"
        ),
    ),
    Case(
        "select: multiple, chosen", post(_SIZES.format("multiple")), ("choose S=Large", "choose S=Small", "press Send")
    ),
    Case("select: disabled group", post(_GROUPS.format("disabled"))),
    Case("select: group", post(_GROUPS.format("")), ("choose S=b", "press Send")),
    Case(
        "select: values",
        post("<select name=s><option value=1>One</select><select name=t><option value=''>One</select>"),
    ),
    Case("select: blanks in the text", post("<select name=s><option>  One \n  two\u00a0 </select>")),
    Case(
        "select: label is shown, text is sent",
        post("<select name=s aria-label=S><option>x<option label=Shown>sent</select>"),
        ("choose S=Shown", "press Send"),
    ),
    Case("select: long text", post(f"<select name=s><option>{'word ' * 60}</select>")),
    Case("select: long value", post(f"<select name=s><option value='{'v' * 5000}'>x</select>")),
    Case(
        "select: options in other tags",
        post("<select name=s><div><option>a</div><div><option selected>b</div></select>"),
    ),
    Case("select: script in an option", post("<select name=s><option>a<script>b</script>c</select>")),
    Case(
        "select: hr between options",
        post("<select name=s aria-label=S><option>a<hr><option>b</select>"),
        ("choose S=b", "press Send"),
    ),
    Case("select: an input ends it", post("<select name=s><option>a<input name=i value=1>")),
    Case(
        "select: four hundred options",
        post("<select name=s>" + "".join(f"<option{' selected' * (i == 390)}>o{i}" for i in range(400)) + "</select>"),
    ),
    Case(
        "select: choose the last of four hundred",
        post("<select name=s aria-label=S>" + "".join(f"<option>o{i}" for i in range(400)) + "</select>"),
        ("choose S=o399", "press Send"),
    ),
    Case(
        "fieldset: disabled",
        post(
            "<fieldset disabled><input name=a><select name=b><option>x</select><textarea name=c></textarea></fieldset><input name=d>"
        ),
    ),
    Case(
        "fieldset: legend of a disabled one",
        post(
            "<fieldset disabled><legend><input name=a value=1></legend><legend><input name=b></legend><input name=c></fieldset>"
        ),
    ),
    Case(
        "fieldset: nested",
        post(
            "<fieldset disabled><legend><fieldset><input name=a></fieldset></legend><fieldset><input name=b></fieldset></fieldset>"
        ),
    ),
    Case(
        "fieldset: only a nested legend",
        post("<fieldset disabled><div><legend><input name=a></legend></div></fieldset><input name=b>"),
    ),
    Case("fieldset: button of a disabled one", post("<fieldset disabled><button name=b value=1>x</button></fieldset>")),
    Case(
        "hidden by style",
        post(
            "<p style='display:none'><input name=a value=1><select name=s><option>x</select><input type=checkbox name=c checked></p><div hidden><textarea name=t>y</textarea></div>"
        ),
    ),
    Case("hidden by style sheet", "<style>.h{display:none}</style>" + post("<p class=h><input name=a value=1></p>")),
    Case("hidden in closed details", post("<details><summary>More</summary><input name=a value=1></details>")),
    Case("hidden in a closed dialog", post("<dialog><input name=a value=1></dialog>")),
    Case("file: urlencoded", post("<input type=file name=f>")),
    Case("file: by GET", get("<input type=file name=f>")),
    Case(
        "file: multipart",
        post(
            "<input name=a value=1><input type=file name=f><input type=file name=g multiple>",
            "enctype=multipart/form-data",
        ),
    ),
    Case("file: text", post("<input type=file name=f>", "enctype=text/plain")),
    Case(
        "multipart: names and values",
        post(
            "<input name='a\"b' value='x\"y'><input name='a&#10;b' value=2><textarea name=t>x\ny</textarea>",
            "enctype=multipart/form-data",
        ),
    ),
    Case("multipart: letters beyond ASCII", post("<input name=\u00e9 value=\u20ac>", "enctype=multipart/form-data")),
    Case("multipart: without any field", post("", "enctype=multipart/form-data")),
    Case("multipart: upper case and nonsense", post("<input name=a>", "enctype=MULTIPART/FORM-DATA") + "<!-- -->"),
    Case("enctype: nonsense", post("<input name=a value='1 2'>", "enctype=multipart")),
    Case(
        "enctype: text",
        post(
            "<input name=a value='1 2&amp;='><input name='b=' value=\u00e9><textarea name=t>x\ny</textarea>",
            "enctype=text/plain",
        ),
    ),
    Case(
        "dirname",
        post(
            "<input name=a dirname=d value=x><input name=b dirname=e dir=rtl value=y><textarea name=c dirname=f dir=auto>\u05d0</textarea>"
        ),
    ),
    Case(
        "dirname: of the form",
        post("<input name=a dirname=d value=x><input type=checkbox name=b dirname=no checked>", "dir=rtl"),
    ),
    Case("dirname: empty", post("<input name=a dirname='' value=x><input name=b dirname=d dir=auto value='1 \u05d0'>")),
    Case(
        "dirname: other types",
        post(
            "<input type=search name=a dirname=ad><input type=tel name=b dirname=bd><input type=email name=c dirname=cd><input type=hidden name=d dirname=dd><input type=number name=e dirname=ed>"
        ),
    ),
    Case(
        "output and object are not sent",
        post("<output name=o>1</output><object name=p></object><meter name=m value=1></meter><input name=a>"),
    ),
    Case(
        "fields in a label",
        post("<label for=x>A</label><input id=x name=a aria-label=A><label>B <input name=b></label>"),
        ("fill A=1", "press Send"),
    ),
    Case(
        "many checkboxes and a button",
        post("".join(f"<input type=checkbox name=c{i} value={i}{' checked' * (i % 50 == 0)}>" for i in range(250))),
    ),
    Case("many hidden fields", post("".join(f"<input type=hidden name=h{i} value={i}>" for i in range(600)))),
    Case(
        "many forms",
        "".join(f"<form action=/{i}><input name=x></form>" for i in range(150)) + post("<input name=a value=1>"),
    ),
    Case(
        "many radios",
        post("".join(f"<input type=radio name=r value={i}{' checked' * (i == 349)}>" for i in range(350))),
    ),
    Case("button after many links", "<p>" + "<a href=/x>l</a> " * 600 + post("<input name=a value=1>")),
    Case("sent outside of a form", "<input name=a value=1>" + SEND),
)
