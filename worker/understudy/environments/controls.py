"""Controls: what each link, button and field of an HTML document says and sends."""

import re
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

from understudy.environments.page import Control, Form, clean, tidy

LABEL_CHARS = 150
MAX_OPTIONS = 300
_MAX_FORMS = 100
_HREF_CHARS = 2_048
_NAME_CHARS = 200
_OPTION_CHARS = 100
#: State that sites keep in hidden fields can be long, and without it a form is worth nothing.
_VALUE_CHARS = 100_000

_BUTTONS = frozenset(("submit", "image", "button", "reset"))
_LINE_BREAKS = re.compile(r"[\t\r\n]")
_PLAIN_PATH = re.compile(
    r"/?[\w%~-][\w%~.-]*(?:/[\w%~-][\w%~.-]*)*(?:\?[\w%~.&=+/-]+)?(?:#[\w%~.-]*)?", re.ASCII
)
_PLAIN_BASE = re.compile(r"(https?://[^/?#]+)/(?:[^/?#]+/)*")
_NAME_BREAKS = re.compile(r"[\[\]_.\-]+|(?<=[a-z])(?=[A-Z])")


class ControlReader:
    """Reads controls of one document. Who is inside what (labels, forms, links) is for the caller to know."""

    def __init__(self, tree: LexborHTMLParser, url: str) -> None:
        base = tree.css_first("base[href]")
        self.base = (absolute(base.attributes.get("href") or "", url) or url) if base else url
        forms = tree.css("form")[:_MAX_FORMS]
        self.forms = tuple(self._form(form) for form in forms)
        self.form_at = {form.mem_id: index for index, form in enumerate(forms)}
        self._form_of_id = {form.id: index for index, form in reversed(list(enumerate(forms))) if form.id}
        self._label_of_id = {
            label.attributes.get("for"): tidy(label.text(), LABEL_CHARS)
            for label in reversed(tree.css("label[for]"))
        }

    def link(self, node: LexborNode) -> Control | None:
        """None if it leads nowhere a person can go. Its label is what it says when it has no words in it."""
        attributes = node.attributes
        href = absolute(attributes.get("href") or "", self.base) if "href" in attributes else ""
        label = attributes.get("aria-label") or attributes.get("title") or attributes.get("alt") or ""
        if not href:
            return None
        return Control("link", tidy(label, LABEL_CHARS), href=href, pointer_only=_is_pointer_only(node))

    def input(self, node: LexborNode, form: int | None) -> Control:
        """Whatever an `<input>` is. A radio is a group of one, for the caller to put with its group."""
        attributes = node.attributes
        kind = (attributes.get("type") or "text").lower()
        value = clean(attributes.get("value") or "")[:_VALUE_CHARS]
        checked = "checked" in attributes
        if kind in _BUTTONS:
            return self.button(node, form)
        if kind == "file":
            # Nobody here has a file to give; a form without one is still a form.
            return Control("hidden", form=self._owner(node, form))
        if kind == "checkbox":
            box = self._field(node, kind, value or "on", form)
            box.chosen = 1 if checked else -1
            return box
        if kind == "radio":
            own = self._label_of_id.get(attributes.get("id") or "") or attributes.get("aria-label") or value
            one = self._field(node, kind, "", form)
            if one.kind == "radio":
                one.label = _humanize_name(one.name)
                one.options, one.sends = (tidy(own, _OPTION_CHARS),), (value or "on",)
                one.chosen = 0 if checked else -1
            return one
        return self._field(node, "hidden" if kind == "hidden" else "text", value, form)

    def textarea(self, node: LexborNode, form: int | None) -> Control:
        return self._field(node, "textarea", clean(node.text())[:_VALUE_CHARS].removeprefix("\n"), form)

    def select(self, node: LexborNode, form: int | None) -> Control:
        options: list[str] = []
        sends: list[str] = []
        chosen = -1
        for option in node.css("option:not([disabled])")[:MAX_OPTIONS]:
            attributes = option.attributes
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
            # The usual script of a picker without a button.
            select.sends_form = "submit" in (node.attributes.get("onchange") or "")
        return select

    def button(self, node: LexborNode, form: int | None) -> Control:
        """A button. An empty label means: what is written inside it."""
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


def absolute(href: str, base: str) -> str:
    """Where `href` leads; empty if a person can't go there."""
    href = clean(_LINE_BREAKS.sub("", href.strip()))
    if _PLAIN_PATH.fullmatch(href) and (plain := _PLAIN_BASE.match(base)):
        # Nine of ten links; a page may have hundreds, and urljoin is slow.
        url = (plain[1] if href.startswith("/") else plain[0]) + href
        return url if len(url) <= _HREF_CHARS else ""
    try:
        url = urljoin(base, href)
        scheme = urlsplit(url).scheme
    except ValueError:
        # Kept as it is written: somebody may follow it and see that it leads nowhere.
        return href[:_HREF_CHARS]
    return url if scheme in ("http", "https") and len(url) <= _HREF_CHARS else ""


def _is_pointer_only(node: LexborNode) -> bool:
    """Taken out of the order in which the Tab key goes."""
    return (node.attributes.get("tabindex") or "").strip().startswith("-")


def _humanize_name(name: str) -> str:
    """A field's name as somebody would read it: `billing[zip_code]` is "billing zip code"."""
    return tidy(_NAME_BREAKS.sub(" ", name), LABEL_CHARS).lower()
