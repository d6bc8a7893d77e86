"""Controls: read the labels and values of links, buttons and fields from an HTML document."""

import re
from functools import cached_property
from urllib.parse import quote

from selectolax.lexbor import LexborHTMLParser, LexborNode

from understudy.domain.userinfo import without_userinfo
from understudy.environments.addresses import LINE_BREAKS, URL_CHARS, absolute
from understudy.environments.form_encoding import encode, output_encoding
from understudy.environments.html_sanitizer import FORM, OWNER
from understudy.environments.input_values import RANGED, sanitize_value
from understudy.environments.options import options_of, parent_tag, text_of
from understudy.environments.page import Control, Form, clean, tidy, words

LABEL_CHARS = 150
MAX_OPTIONS = 300
_MAX_FORMS = 1_000
_NAME_CHARS = 10_000
_OPTION_CHARS = 100
#: Levels from a radio button to the group that has its name.
_GROUP_LEVELS = 8
#: Long enough for the state that sites keep in hidden fields, without which a form is useless.
_VALUE_CHARS = 100_000

_BUTTONS = frozenset(("submit", "image", "button", "reset"))
#: Types of inputs with rules of their own; any other one is a text.
_TYPES = words(
    "hidden search tel url email password date month week time datetime-local number range color checkbox radio "
    "file submit image reset button"
)
_DIRECTED = frozenset(("", "hidden", "search", "tel", "url", "email", "password"))
_RULES = ("pattern", "min", "max", "step", "minlength", "maxlength")
_ENCTYPES = {"multipart/form-data": "multipart", "text/plain": "plain"}
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_NAME_BREAKS = re.compile(r"[\[\]_.\-]+|(?<=[a-z])(?=[A-Z])")


class ControlReader:
    """Reads controls of one document. The caller tracks nesting in labels, forms and links."""

    def __init__(
        self, tree: LexborHTMLParser, url: str, charset: str = "utf-8", cut: frozenset[int] = frozenset()
    ) -> None:
        base = tree.css_first("base[href]")
        self._tree = tree
        self._url = url
        self.base = (absolute(base.attributes.get("href") or "", url) or url) if base else url
        self._charset = output_encoding(charset) or "utf-8"
        forms = tree.css("form")[:_MAX_FORMS]
        marks = [_index(form.attributes.get(FORM)) for form in forms]
        self.forms = [self._form(form, cut=mark in cut) for form, mark in zip(forms, marks, strict=True)]
        self.form_at = {form.mem_id: index for index, form in enumerate(forms)}
        self._form_of_mark = {mark: index for index, mark in enumerate(marks) if mark is not None}
        self._label_of_id = {
            label.attributes.get("for"): tidy(label.text(), LABEL_CHARS) for label in reversed(tree.css("label[for]"))
        }

    @cached_property
    def _node_of_id(self) -> dict[str, LexborNode]:
        return {node.id: node for node in reversed(self._tree.css("[id]")) if node.id}

    def link(self, node: LexborNode) -> Control | None:
        """Returns the link, with a fallback label for a link without text; None if it is not http(s)."""
        attributes = node.attributes
        href = self._absolute(attributes.get("href") or "") if "href" in attributes else ""
        label = self.written_label(attributes) or attributes.get("title") or attributes.get("alt") or ""
        if not href:
            return None
        return Control("link", tidy(label, LABEL_CHARS), href=href, pointer_only=_is_pointer_only(attributes))

    def input(self, node: LexborNode, form: int | None) -> Control:
        """Returns the control of an `<input>`. A radio is a group of one, which the caller merges."""
        attributes = node.attributes
        kind = (attributes.get("type") or "text").lower()
        kind = kind if kind in _TYPES else "text"
        value = clean(attributes.get("value") or "")[:_VALUE_CHARS]
        if kind in _BUTTONS:
            return self.button(node, form)
        if kind == "checkbox":
            box = self._field(node, kind, value if attributes.get("value") is not None else "on", form)
            box.chosen = 1 if "checked" in attributes else -1
            return box
        if kind == "radio":
            own = self._label_of_id.get(attributes.get("id") or "") or self.written_label(attributes) or value
            radio = self._field(node, kind, "", form)
            radio.label = self._legend(node) or _humanize_name(radio.name)
            radio.options = (tidy(own, _OPTION_CHARS),)
            radio.sends = (value if attributes.get("value") is not None else "on",)
            radio.chosen = 0 if "checked" in attributes else -1
            return radio
        # A person has no files: the form is sent with an absent one.
        field = self._field(node, "hidden" if kind in ("hidden", "file") else "text", value, form)
        field.type = "" if kind == "text" else kind
        if kind not in ("hidden", "file"):
            self._set_rules(field, node, value)
        elif kind == "file":
            field.label, field.required = "a file, which a simulated person does not have", "required" in attributes
        field.value = sanitize_value(kind, "" if kind == "file" else value, field.rules)
        if kind == "hidden" and field.name.lower() == "_charset_":
            field.type = "charset"
        if field.type in _DIRECTED:
            self._set_direction(field, node)
        return field

    def textarea(self, node: LexborNode, form: int | None) -> Control:
        area = self._field(node, "textarea", clean(node.text())[:_VALUE_CHARS], form)
        area.value = re.sub(r"\r\n?", "\n", area.value)
        self._set_rules(area, node, "")
        self._set_direction(area, node)
        return area

    def select(self, node: LexborNode, form: int | None) -> Control:
        options: list[str] = []
        sends: list[str] = []
        picked: list[int] = []
        barred: list[int] = []
        first_enabled = -1
        placeholder = False
        attributes = node.attributes
        multiple = "multiple" in attributes
        for position, (option, disabled) in enumerate(options_of(node)):
            own = option.attributes
            text = _BLANKS.sub(" ", clean(text_of(option))).strip(" ")
            value = clean(own["value"] or "") if "value" in own else text
            if position == 0 and not value and parent_tag(option) == "select":
                placeholder = True
            selected = "selected" in own
            if disabled and not selected:
                continue
            if selected:
                picked = [*picked, len(options)] if multiple else [len(options)]
            if disabled:
                barred.append(len(options))
            elif first_enabled < 0:
                first_enabled = len(options)
            options.append(tidy(own.get("label") or "", _OPTION_CHARS) or tidy(text, _OPTION_CHARS))
            sends.append(value[:_VALUE_CHARS])
        size = attributes.get("size") or ""
        rows = int(size) if size.isascii() and size.isdigit() and len(size) < 6 else 0
        is_menu = not multiple and rows <= 1
        if not picked and is_menu and first_enabled >= 0:
            picked = [first_enabled]
        select = self._field(node, "select", "", form)
        select.options, select.sends, select.barred = tuple(options), tuple(sends), tuple(barred)
        select.chosen = picked[-1] if picked else -1
        if multiple:
            select.multiple, select.picked = True, tuple(picked)
        if select.required and is_menu and placeholder:
            select.rules = {"placeholder": ""}
        # The usual script of a picker without a submit button.
        select.sends_form = "submit" in (attributes.get("onchange") or "")
        return select

    def button(self, node: LexborNode, form: int | None) -> Control:
        """Returns a button; an empty label means that its inner text is the label."""
        attributes = node.attributes
        is_input = node.tag == "input"
        kind = (attributes.get("type") or "submit").lower()
        kind = kind if kind in _BUTTONS and (is_input or kind != "image") else "submit"
        value = clean(attributes.get("value") or "")[:_VALUE_CHARS]
        label = self.written_label(attributes)
        if is_input:
            label = label or value or attributes.get("alt") or attributes.get("title") or kind.capitalize()
            if kind == "submit" and attributes.get("value") is None and "value" not in attributes:
                # As Chromium names and sends it.
                value = "Submit"
        action = attributes.get("formaction")
        method = attributes.get("formmethod")
        enctype = attributes.get("formenctype")
        return Control(
            "button",
            tidy(label, LABEL_CHARS),
            name=clean(attributes.get("name") or "")[:_NAME_CHARS],
            value=value,
            form=self._owner(attributes, form),
            role=kind if kind in ("reset", "button") else "submit",
            pointer_only=_is_pointer_only(attributes),
            action="" if "formaction" not in attributes else self._action(action or ""),
            method="" if "formmethod" not in attributes else _method(method or ""),
            enctype="" if "formenctype" not in attributes else _enctype(enctype or ""),
            unchecked="formnovalidate" in attributes,
            type="image" if kind == "image" else "",
        )

    def written_label(self, attributes: dict[str, str | None]) -> str:
        """Returns the name that the author gives to a node by `aria-labelledby` or `aria-label`."""
        if ids := (attributes.get("aria-labelledby") or "").split()[:8]:
            named = [self._node_of_id[name] for name in ids if name in self._node_of_id]
            text = " ".join(other.attributes.get("aria-label") or other.text(separator=" ") for other in named)
            if label := tidy(text, LABEL_CHARS):
                return label
        own = attributes.get("aria-label")
        return tidy(own, LABEL_CHARS) if own else ""

    def _legend(self, radio: LexborNode) -> str:
        """Returns the name of the group around a radio button."""
        around = radio.parent
        for _ in range(_GROUP_LEVELS):
            if around is None or not around.is_element_node:
                break
            if around.attributes.get("role") == "radiogroup" and (label := self.written_label(around.attributes)):
                return label
            if around.tag == "fieldset":
                legend = next((child for child in around.iter() if child.tag == "legend"), None)
                return self.written_label(around.attributes) or (
                    tidy(legend.text(separator=" "), LABEL_CHARS) if legend else ""
                )
            around = around.parent
        return ""

    def _field(self, node: LexborNode, kind: str, value: str, form: int | None) -> Control:
        attributes = node.attributes
        form = self._owner(attributes, form)
        name = clean(attributes.get("name") or "")[:_NAME_CHARS]
        if kind == "hidden" or (kind in ("text", "textarea") and "readonly" in attributes):
            return Control("hidden", name=name, value=value, form=form)
        fallback = "search" if (attributes.get("type") or "").lower() == "search" else _humanize_name(name)
        label = (
            self.written_label(attributes)
            or self._label_of_id.get(attributes.get("id") or "")
            or attributes.get("placeholder")
            or attributes.get("title")
            or fallback
        )
        return Control(
            kind,
            tidy(label, LABEL_CHARS),
            name=name,
            value=value,
            form=form,
            required="required" in attributes,
            pointer_only=_is_pointer_only(attributes),
        )

    def _set_rules(self, field: Control, node: LexborNode, value: str) -> None:
        attributes = node.attributes
        rules = {name: clean(attributes[name] or "")[:1_000] for name in _RULES if attributes.get(name) is not None}
        if "multiple" in attributes and field.type == "email":
            rules["multiple"] = ""
        if "pattern" in rules and attributes.get("title"):
            rules["title"] = clean(attributes["title"] or "")[:150]
        if "min" not in rules and value and field.type in RANGED:
            rules["value"] = value[:100]
        field.rules = rules
        if field.type in ("range", "color"):
            # These always have a value.
            field.required = False

    def _set_direction(self, field: Control, node: LexborNode) -> None:
        if "dirname" in node.attributes:
            field.dirname = clean(node.attributes["dirname"] or "")[:_NAME_CHARS]
            field.direction = _direction(node)

    def _owner(self, attributes: dict[str, str | None], form: int | None) -> int | None:
        if "form" in attributes:
            owner = self._node_of_id.get(attributes["form"] or "")
            return self.form_at.get(owner.mem_id) if owner is not None else None
        mark = _index(attributes.get(OWNER))
        return form if mark is None else self._form_of_mark.get(mark, form)

    def _form(self, node: LexborNode, *, cut: bool) -> Form:
        attributes = node.attributes
        enctype = _enctype(attributes.get("enctype") or "")
        labels = re.split(r"[\s,]+", attributes.get("accept-charset") or "")
        known = next(filter(None, map(output_encoding, filter(None, labels))), "")
        return Form(
            action=self._action(attributes.get("action") or ""),
            method=_method(attributes.get("method") or ""),
            multipart=enctype == "multipart",
            unchecked="novalidate" in attributes,
            charset=known or self._charset,
            plain=enctype == "plain",
            cut=cut,
        )

    def _absolute(self, href: str) -> str:
        """Returns the absolute URL, with its query in the encoding of the page."""
        url = absolute(href, self.base)
        if self._charset == "utf-8" or url.isascii():
            return url
        before, mark, fragment = url.partition("#")
        path, question, query = before.partition("?")
        query = "".join(letter if letter.isascii() else quote(encode(letter, self._charset)) for letter in query)
        return f"{path}{question}{query}{mark}{fragment}"

    def _action(self, written: str) -> str:
        """Returns the address to send a form to. An empty one is that of the page, whatever its base."""
        written = LINE_BREAKS.sub("", written.strip())
        if not written:
            return without_userinfo(self._url.partition("#")[0])
        if found := self._absolute(written):
            return found
        # Kept as written: sending the form says that this is no address of a page.
        return without_userinfo(clean(written))[:URL_CHARS]


def _index(mark: str | None) -> int | None:
    return int(mark) if mark and mark.isascii() and mark.isdigit() and len(mark) < 8 else None


def _method(written: str) -> str:
    method = written.lower()
    return method if method in ("post", "dialog") else "get"


def _enctype(written: str) -> str:
    return _ENCTYPES.get(written.lower(), "urlencoded")


def _direction(node: LexborNode) -> str:
    """Returns the direction that the field or the nearest element around it states."""
    around: LexborNode | None = node
    while around is not None and around.is_element_node:
        written = (around.attributes.get("dir") or "").lower()
        if written in ("ltr", "rtl") or (written == "auto" and around.mem_id == node.mem_id):
            return written
        around = around.parent
    return "ltr"


def _is_pointer_only(attributes: dict[str, str | None]) -> bool:
    """Returns whether the Tab key does not reach the control."""
    return (attributes.get("tabindex") or "").strip().startswith("-")


def _humanize_name(name: str) -> str:
    """Returns a readable field name: `billing[zip_code]` becomes "billing zip code"."""
    return tidy(_NAME_BREAKS.sub(" ", name), LABEL_CHARS).lower()
