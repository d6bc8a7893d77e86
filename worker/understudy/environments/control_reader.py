"""Controls: read the labels and values of links, buttons and fields from an HTML document."""

import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

from understudy.domain.userinfo import without_userinfo
from understudy.environments.page import Control, Form, clean, tidy

LABEL_CHARS = 150
MAX_OPTIONS = 300
_MAX_FORMS = 100
_HREF_CHARS = 2_048
_NAME_CHARS = 200
_OPTION_CHARS = 100
#: Long enough for the state that sites keep in hidden fields, without which a form is useless.
_VALUE_CHARS = 100_000

_BUTTONS = frozenset(("submit", "image", "button", "reset"))
_LINE_BREAKS = re.compile(r"[\t\r\n]")
_PLAIN_PATH = re.compile(r"/?[\w%~-][\w%~.-]*(?:/[\w%~-][\w%~.-]*)*(?:\?[\w%~.&=+/-]+)?(?:#[\w%~.-]*)?", re.ASCII)
_PLAIN_BASE = re.compile(r"(https?://[^/?#]+)/(?:[^/?#]+/)*")
_NAME_BREAKS = re.compile(r"[\[\]_.\-]+|(?<=[a-z])(?=[A-Z])")


class ControlReader:
    """Reads controls of one document. The caller tracks nesting in labels, forms and links."""

    def __init__(self, tree: LexborHTMLParser, url: str) -> None:
        base = tree.css_first("base[href]")
        self.base = (absolute(base.attributes.get("href") or "", url) or url) if base else url
        forms = tree.css("form")[:_MAX_FORMS]
        self.forms = tuple(self._form(form) for form in forms)
        self.form_at = {form.mem_id: index for index, form in enumerate(forms)}
        self._form_of_id = {form.id: index for index, form in reversed(list(enumerate(forms))) if form.id}
        self._label_of_id = {
            label.attributes.get("for"): tidy(label.text(), LABEL_CHARS) for label in reversed(tree.css("label[for]"))
        }

    def link(self, node: LexborNode) -> Control | None:
        """Returns the link, with a fallback label for a link without text; None if it is not http(s)."""
        attributes = node.attributes
        href = absolute(attributes.get("href") or "", self.base) if "href" in attributes else ""
        label = attributes.get("aria-label") or attributes.get("title") or attributes.get("alt") or ""
        if not href:
            return None
        return Control("link", tidy(label, LABEL_CHARS), href=href, pointer_only=_is_pointer_only(node))

    def input(self, node: LexborNode, form: int | None) -> Control:
        """Returns the control of an `<input>`. A radio is a group of one, which the caller merges."""
        attributes = node.attributes
        kind = (attributes.get("type") or "text").lower()
        value = clean(attributes.get("value") or "")[:_VALUE_CHARS]
        checked = "checked" in attributes
        if kind in _BUTTONS:
            return self.button(node, form)
        if kind == "file":
            # Participants have no files; the form works without one.
            return Control("hidden", form=self._owner(node, form))
        if kind == "checkbox":
            box = self._field(node, kind, value or "on", form)
            box.chosen = 1 if checked else -1
            return box
        if kind == "radio":
            own = self._label_of_id.get(attributes.get("id") or "") or attributes.get("aria-label") or value
            radio = self._field(node, kind, "", form)
            if radio.kind == "radio":
                radio.label = _humanize_name(radio.name)
                radio.options, radio.sends = (tidy(own, _OPTION_CHARS),), (value or "on",)
                radio.chosen = 0 if checked else -1
            return radio
        return self._field(node, "hidden" if kind == "hidden" else "text", value, form)

    def textarea(self, node: LexborNode, form: int | None) -> Control:
        return self._field(node, "textarea", clean(node.text())[:_VALUE_CHARS].removeprefix("\n"), form)

    def select(self, node: LexborNode, form: int | None) -> Control:
        options: list[str] = []
        sends: list[str] = []
        chosen = -1
        for option in _options(node):
            attributes = option.attributes
            if "disabled" in attributes:
                continue
            if len(options) == MAX_OPTIONS:
                break
            if "selected" in attributes:
                chosen = len(options)
            label = tidy(option.text(), _OPTION_CHARS) or tidy(attributes.get("label") or "", _OPTION_CHARS)
            options.append(label)
            value = (attributes.get("value") or "") if "value" in attributes else label
            sends.append(clean(value)[:_HREF_CHARS])
        if chosen < 0 and options and "multiple" not in node.attributes:
            chosen = 0
        select = self._field(node, "select", "", form)
        if select.kind == "select":
            select.options, select.sends, select.chosen = tuple(options), tuple(sends), chosen
            # The usual script of a picker without a submit button.
            select.sends_form = "submit" in (node.attributes.get("onchange") or "")
        return select

    def button(self, node: LexborNode, form: int | None) -> Control:
        """Returns a button; an empty label means that its inner text is the label."""
        attributes = node.attributes
        kind = (attributes.get("type") or "submit").lower()
        value = clean(attributes.get("value") or "")[:_VALUE_CHARS]
        label = attributes.get("aria-label") or ""
        if node.tag == "input":
            label = label or value or attributes.get("alt") or kind.capitalize()
        if "disabled" in attributes:
            return Control("hidden", form=self._owner(node, form))
        action = attributes.get("formaction")
        return Control(
            "button",
            tidy(label, LABEL_CHARS),
            name=clean(attributes.get("name") or "")[:_NAME_CHARS],
            value=value,
            form=self._owner(node, form),
            role=kind if kind in ("reset", "button") else "submit",
            pointer_only=_is_pointer_only(node),
            action=absolute(action, self.base) if action else "",
            method=(attributes.get("formmethod") or "").lower(),
        )

    def _field(self, node: LexborNode, kind: str, value: str, form: int | None) -> Control:
        attributes = node.attributes
        form = self._owner(node, form)
        name = clean(attributes.get("name") or "")[:_NAME_CHARS]
        if "disabled" in attributes:
            return Control("hidden", form=form)
        if kind == "hidden" or (kind in ("text", "textarea") and "readonly" in attributes):
            return Control("hidden", name=name, value=value, form=form)
        fallback = "search" if (attributes.get("type") or "").lower() == "search" else _humanize_name(name)
        label = (
            attributes.get("aria-label")
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
            pointer_only=_is_pointer_only(node),
        )

    def _owner(self, node: LexborNode, form: int | None) -> int | None:
        named = node.attributes.get("form")
        return self._form_of_id.get(named) if named else form

    def _form(self, node: LexborNode) -> Form:
        attributes = node.attributes
        method = (attributes.get("method") or "get").strip().lower()
        return Form(
            action=absolute(attributes.get("action") or "", self.base) or self.base,
            method=method if method in ("post", "dialog") else "get",
            multipart="multipart" in (attributes.get("enctype") or "").lower(),
            unchecked="novalidate" in attributes,
        )


def _options(select: LexborNode) -> Iterator[LexborNode]:
    """Yields the options of a select and of its groups. A CSS query would take the square of their number."""
    for child in select.iter():
        if child.tag == "option":
            yield child
        elif child.tag == "optgroup":
            yield from (option for option in child.iter() if option.tag == "option")


def absolute(href: str, base: str) -> str:
    """Returns the absolute URL of `href`; empty if it is not http(s) or too long."""
    href = clean(_LINE_BREAKS.sub("", href.strip()))
    if _PLAIN_PATH.fullmatch(href) and (plain := _PLAIN_BASE.match(base)):
        # Nine of ten links are like this; a page may have hundreds, and urljoin is slow.
        url = (plain[1] if href.startswith("/") else plain[0]) + href
        return url if len(url) <= _HREF_CHARS else ""
    try:
        url = urljoin(base, href)
        scheme = urlsplit(url).scheme
    except ValueError:
        # Keep it as written: following it reports the invalid address.
        return without_userinfo(href)[:_HREF_CHARS]
    return without_userinfo(url) if scheme in ("http", "https") and len(url) <= _HREF_CHARS else ""


def _is_pointer_only(node: LexborNode) -> bool:
    """Returns whether the Tab key does not reach the control."""
    return (node.attributes.get("tabindex") or "").strip().startswith("-")


def _humanize_name(name: str) -> str:
    """Returns a readable field name: `billing[zip_code]` becomes "billing zip code"."""
    return tidy(_NAME_BREAKS.sub(" ", name), LABEL_CHARS).lower()
