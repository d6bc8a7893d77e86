"""Reader: converts the HTML of a site to the Page that a person sees."""

import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from understudy.domain.simulation import Json
from understudy.environments.control_reader import LABEL_CHARS, MAX_OPTIONS, ControlReader, absolute
from understudy.environments.encoding import decode
from understudy.environments.html_sanitizer import sanitize_html
from understudy.environments.page import Control, Page, clean, tidy, words

TEXT_CHARS = 20_000
_MAX_LINKS = 500
_MAX_CONTROLS = 200
_MAX_HEADINGS = 50
#: Maximum nesting of links, headings, buttons and labels whose text is collected.
_MAX_CAPTURES = 8
#: Maximum bytes of all controls; further controls are left out, to keep a stored page small.
_CONTROL_BYTES = 400_000
#: A page that refreshes after more seconds than this is shown to the person.
_REFRESH_S = 2

_HIDDEN = (
    '[hidden], [style*="display:none" i], [style*="display: none" i], [style*="visibility:hidden" i], '
    '[style*="visibility: hidden" i], dialog:not([open])'
)
_UNREAD = words("head script style template svg math iframe object noembed noframes audio video canvas datalist")
#: Tags that do not separate words; any other tag does.
_INLINE = words(
    "-text a abbr b bdi bdo big cite code del dfn em font i ins kbd label mark nobr q s samp small span "
    "strike strong sub sup time tt u var wbr"
)
_REFRESH = re.compile(r"\s*(\d{1,3})[.\d]*\s*[;,]\s*(?:url\s*=\s*)?['\"]?([^'\"]+)", re.IGNORECASE)


def answer(question: Any, body: bytes) -> Json:
    """Reads a page in a child process; see `page_lanes`."""
    return {**(page := read_page(PageSource(**question), body)).as_json, "refresh": page.refresh}


class PageSource(NamedTuple):
    """How the body of a page is to be read."""

    url: str
    #: Parameters of its Content-Type.
    parameters: str
    is_html: bool = True
    with_places: bool = False


def read_page(source: PageSource, body: bytes) -> Page:
    """Returns the page of a body."""
    text = decode(body, source.parameters)
    return read_html(text, source.url, with_places=source.with_places) if source.is_html else read_text(text)


def read_text(text: str) -> Page:
    """Returns the page of a plain text."""
    return Page(text=tidy(text, TEXT_CHARS))


def read_html(html: str, url: str, *, with_places: bool = False) -> Page:
    """Returns the page of the HTML at `url`; invalid parts are left out."""
    reader = _Reader(LexborHTMLParser(sanitize_html(clean(html))), url)
    try:
        return reader.page(with_places=with_places)
    finally:
        # Without this, the tree would stay in memory until the garbage collector finds the reader.
        vars(reader).clear()


class _Capture:
    """Collects the words of a node; `finish` receives them when the node ends."""

    __slots__ = ("field_positions", "finish", "mem_id", "parts")

    def __init__(self, node: LexborNode, finish: Callable[["_Capture", str], None]) -> None:
        self.mem_id = node.mem_id
        self.finish = finish
        self.parts: list[str] = []
        #: Positions of the fields inside the node.
        self.field_positions: list[int] = []


class _Reader:
    """Traverses one document once, in reading order."""

    def __init__(self, tree: LexborHTMLParser, url: str) -> None:
        self._tree = tree
        self._reader = ControlReader(tree, url)
        self._hidden = {node.mem_id for node in tree.css(_HIDDEN)}
        self._controls: list[Control] = []
        #: Length of the text before each control.
        self._text_before: list[int] = []
        self._control_bytes = 0
        self._links = 0
        self._radios: dict[tuple[int | None, str], int] = {}
        self._captures: list[_Capture] = []
        self._open_forms: list[tuple[int, int | None]] = []
        self._text: list[str] = []
        self._text_chars = 0
        self._headings: list[str] = []
        self._begin: dict[str, Callable[[LexborNode], None]] = {
            "a": self._link,
            "area": self._link,
            "input": self._input,
            "button": self._button,
            "select": lambda node: self._add(self._reader.select(node, self._form)),
            "textarea": lambda node: self._add(self._reader.textarea(node, self._form)),
            "label": lambda node: self._capture(node, self._label_ended),
            "img": self._image,
            "form": lambda node: self._open_forms.append((node.mem_id, self._reader.form_at.get(node.mem_id))),
            **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), self._heading),
        }

    def page(self, *, with_places: bool) -> Page:
        title = self._tree.css_first("title")
        if self._tree.body is not None:
            self._walk(self._tree.body)
        for number, control in enumerate((c for c in self._controls if c.kind != "hidden"), 1):
            control.number = number
        return Page(
            title=tidy(title.text(), 300) if title else "",
            text=tidy("".join(self._text), TEXT_CHARS),
            headings=tuple(self._headings),
            controls=tuple(self._controls),
            forms=self._reader.forms,
            places=self._places() if with_places else (),
            refresh=self._refresh(),
        )

    @property
    def _form(self) -> int | None:
        return self._open_forms[-1][1] if self._open_forms else None

    def _walk(self, root: LexborNode) -> None:
        node: LexborNode | None = root
        while node is not None:
            below = self._enter(node)
            if below is not None:
                node = below
                continue
            while node is not None:
                self._leave(node)
                if node.mem_id == root.mem_id:
                    return
                if (after := node.next) is not None:
                    node = after
                    break
                node = node.parent

    def _enter(self, node: LexborNode) -> LexborNode | None:
        """Records the start of a node. Returns its first child, or None if its content is not read."""
        tag = node.tag or ""
        if tag == "-text":
            self._say(node.text_content or "")
            return None
        if tag not in _INLINE:
            self._say(" ")
        if tag in _UNREAD or not node.is_element_node:
            return None
        if node.mem_id in self._hidden:
            # A form submits its hidden inputs even if a style hides their container.
            for field in node.css('input[type="hidden" i]'):
                self._input(field)
            return None
        if (begin := self._begin.get(tag)) is not None:
            begin(node)
        return None if tag in ("select", "textarea") else node.child

    def _leave(self, node: LexborNode) -> None:
        if self._captures and self._captures[-1].mem_id == node.mem_id:
            capture = self._captures.pop()
            capture.finish(capture, tidy("".join(capture.parts), LABEL_CHARS))
        elif self._open_forms and self._open_forms[-1][0] == node.mem_id:
            self._open_forms.pop()
        if (node.tag or "") not in _INLINE:
            self._say(" ")

    def _say(self, said: str) -> None:
        for capture in self._captures:
            capture.parts.append(said)
        if self._text_chars < TEXT_CHARS * 3:
            self._text.append(said)
            self._text_chars += len(said)

    def _capture(self, node: LexborNode, finish: Callable[[_Capture, str], None]) -> None:
        if len(self._captures) < _MAX_CAPTURES:
            self._captures.append(_Capture(node, finish))

    def _heading(self, node: LexborNode) -> None:
        def ended(_: _Capture, said: str) -> None:
            if said and len(self._headings) < _MAX_HEADINGS:
                self._headings.append(said)

        self._capture(node, ended)

    def _image(self, node: LexborNode) -> None:
        # In a link or button, the text of an image is part of the label.
        if self._captures:
            self._captures[-1].parts.append(f" {node.attributes.get('alt') or ''} ")

    def _link(self, node: LexborNode) -> None:
        link = self._reader.link(node) if self._links < _MAX_LINKS else None
        if link is None:
            return

        def ended(_: _Capture, said: str) -> None:
            link.label = said or link.label or _last_segment(link.href)
            self._add(link)

        self._capture(node, ended)

    def _button(self, node: LexborNode) -> None:
        button = self._reader.button(node, self._form)

        def ended(_: _Capture, said: str) -> None:
            button.label = button.label or said or tidy(button.value, LABEL_CHARS)
            self._add(button)

        self._capture(node, ended)

    def _input(self, node: LexborNode) -> None:
        control = self._reader.input(node, self._form)
        if control.kind == "radio":
            self._radio(control)
        else:
            self._add(control)

    def _radio(self, radio: Control) -> None:
        key = (radio.form, radio.name)
        position = self._radios.get(key)
        if position is None:
            position = len(self._controls)
            self._add(radio)
            if position < len(self._controls):
                self._radios[key] = position
            return
        group = self._controls[position]
        if len(group.options) >= MAX_OPTIONS or not self._is_affordable(radio):
            return
        self._register_field(position)
        group.chosen = len(group.options) if radio.chosen == 0 else group.chosen
        group.options += radio.options
        group.sends += radio.sends
        group.required |= radio.required

    def _label_ended(self, label: _Capture, said: str) -> None:
        for position in label.field_positions if said else ():
            control = self._controls[position]
            if control.kind == "radio":
                control.options = (*control.options[:-1], said)
            else:
                control.label = said

    def _add(self, control: Control) -> None:
        if control.kind == "link":
            self._links += 1
        elif len(self._controls) - self._links >= _MAX_CONTROLS:
            return
        if not self._is_affordable(control):
            return
        if control.kind not in ("link", "hidden", "button"):
            self._register_field(len(self._controls))
        self._controls.append(control)
        # Links and buttons are added after their own text.
        words = len(control.label) if control.kind in ("link", "button") else 0
        self._text_before.append(max(self._text_chars - words, 0))

    def _is_affordable(self, control: Control) -> bool:
        """Returns whether the page may hold this control too; then counts it."""
        texts = (control.label, control.href, control.name, control.value, *control.options, *control.sends)
        cost = sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
        if self._control_bytes + cost > _CONTROL_BYTES:
            return False
        self._control_bytes += cost
        return True

    def _places(self) -> tuple[int, ...]:
        """Returns the offset of each control in the text of the page, after normalising whitespace."""
        starts, offsets, offset = [], [], 0
        for word in re.finditer(r"\S+", "".join(self._text)):
            starts.append(word.start())
            offsets.append(offset)
            offset += len(word[0]) + 1
        offsets.append(offset)
        return tuple(offsets[bisect_left(starts, before)] for before in self._text_before)

    def _register_field(self, position: int) -> None:
        """Adds the control at `position` to the labels that contain it."""
        for capture in self._captures:
            if capture.finish == self._label_ended:
                capture.field_positions.append(position)

    def _refresh(self) -> str:
        meta = self._tree.css_first('meta[http-equiv="refresh" i]')
        found = _REFRESH.match(meta.attributes.get("content") or "") if meta else None
        return absolute(found[2], self._reader.base) if found and int(found[1]) <= _REFRESH_S else ""


def _last_segment(url: str) -> str:
    path = url.split("?", 1)[0].split("#", 1)[0].rstrip("/")
    return tidy(path.rsplit("/", 1)[-1], LABEL_CHARS)
