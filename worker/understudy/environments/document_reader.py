"""Document reader: reads a parsed document once, in reading order."""

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace

from selectolax.lexbor import LexborHTMLParser, LexborNode

from understudy.environments.capture import Capture
from understudy.environments.control_reader import LABEL_CHARS, ControlReader
from understudy.environments.fieldsets import DisabledFieldsets
from understudy.environments.html_sanitizer import Markup
from understudy.environments.page import WHOLE_CHARS, Control, Page, tidy, with_text, words
from understudy.environments.refresh import refresh_url
from understudy.environments.scripts import needs_scripts

#: How many of each are shown; a form sends its other fields as they are.
_MAX_LINKS = 500
_MAX_FIELDS = 200
_MAX_BUTTONS = 100
_MAX_HEADINGS = 50
#: Maximum nesting of links, headings, buttons and labels whose text is collected.
_MAX_CAPTURES = 8
#: Maximum bytes of all controls, to keep a stored page small. A form with further ones is not sent.
_CONTROL_BYTES = 400_000
#: Bytes that a stored control takes beside its texts.
_CONTROL_COST = 40

_HIDDEN = (
    '[hidden], [style*="display:none" i], [style*="display: none" i], [style*="visibility:hidden" i], '
    '[style*="visibility: hidden" i], dialog:not([open])'
)
_UNREAD = words("head script style template svg math iframe noembed noframes")
#: What is in these is not shown, but its fields belong to their forms.
_FALLBACK = words("object audio video canvas")
#: Tags that do not separate words; any other tag does.
_INLINE = words(
    "-text a abbr b bdi bdo big cite code del dfn em font i ins kbd label mark nobr q s samp small span "
    "strike strong sub sup time tt u var wbr"
)


class DocumentReader:
    """Traverses one document once, in reading order."""

    def __init__(self, tree: LexborHTMLParser, url: str, charset: str, markup: Markup) -> None:
        self._tree = tree
        self._reader = ControlReader(tree, url, charset, markup.cut_forms)
        self._cut = markup.cut
        self._cut_forms: set[int] = set()
        self._hidden = {node.mem_id for node in tree.css(_HIDDEN)}
        self._controls: list[Control] = []
        #: Length of the text before each control.
        self._text_before: list[int] = []
        #: Positions of the controls that are shown.
        self._shown: list[int] = []
        self._control_bytes = 0
        self._links = self._fields = self._buttons = 0
        #: Number of fields so far, each radio button counted.
        self._order = 0
        #: Nodes that hide what is in them.
        self._dark: list[int] = []
        self._datalists: list[int] = []
        self._fieldsets = DisabledFieldsets()
        self._radios: dict[tuple[int | None, str], int] = {}
        self._captures: list[Capture] = []
        self._open_forms: list[tuple[int, int | None]] = []
        self._text: list[str] = []
        self._text_chars = 0
        self._headings: list[str] = []
        self._begin: dict[str, Callable[[LexborNode], None]] = {
            "a": self._link,
            "area": self._link,
            "input": self._input,
            "button": self._button,
            "select": lambda node: self._field(node, self._reader.select(node, self._form)),
            "textarea": lambda node: self._field(node, self._reader.textarea(node, self._form)),
            "fieldset": self._fieldsets.enter,
            "legend": self._fieldsets.enter_legend,
            "datalist": lambda node: self._datalists.append(node.mem_id),
            "label": lambda node: self._capture(node, self._label_ended),
            "img": self._image,
            "form": lambda node: self._open_forms.append((node.mem_id, self._reader.form_at.get(node.mem_id))),
            **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), self._heading),
        }

    def page(self, *, with_places: bool) -> Page:
        title = self._tree.css_first("title")
        if self._tree.body is not None:
            self._walk(self._tree.body)
        for number, position in enumerate(sorted(self._shown), 1):
            self._controls[position].number = number
        page = Page(
            title=tidy(title.text(), 300) if title else "",
            headings=tuple(self._headings),
            controls=tuple(self._controls),
            forms=tuple(
                replace(form, cut=True) if index in self._cut_forms else form
                for index, form in enumerate(self._reader.forms)
            ),
            places=self._places() if with_places else (),
            refresh=self._refresh(),
            cut=self._cut,
        )
        page = with_text(page, " ".join("".join(self._text).split()))
        return replace(page, needs_scripts=needs_scripts(self._tree, page))

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
        if node.mem_id in self._hidden or tag in _FALLBACK or tag == "datalist":
            # A form submits its fields even if a style hides them.
            self._dark.append(node.mem_id)
        if (begin := self._begin.get(tag)) is not None:
            begin(node)
        return None if tag in ("select", "textarea") else node.child

    def _leave(self, node: LexborNode) -> None:
        mem_id = node.mem_id
        if self._dark and self._dark[-1] == mem_id:
            self._dark.pop()
            if self._datalists and self._datalists[-1] == mem_id:
                self._datalists.pop()
        if self._fieldsets.open:
            self._fieldsets.leave(mem_id)
        if self._captures and self._captures[-1].mem_id == mem_id:
            capture = self._captures.pop()
            capture.finish(capture, tidy("".join(capture.parts), LABEL_CHARS))
        elif self._open_forms and self._open_forms[-1][0] == mem_id:
            self._open_forms.pop()
        if (node.tag or "") not in _INLINE:
            self._say(" ")

    def _say(self, said: str) -> None:
        if self._dark:
            return
        for capture in self._captures:
            capture.parts.append(said)
        # Blanks count here, and not in the text of the page: a body has few more bytes than this limit.
        if self._text_chars < WHOLE_CHARS * 2:
            self._text.append(said)
            self._text_chars += len(said)

    def _capture(self, node: LexborNode, finish: Callable[[Capture, str], None]) -> None:
        if len(self._captures) < _MAX_CAPTURES and not self._dark:
            self._captures.append(Capture(node, finish))

    def _heading(self, node: LexborNode) -> None:
        def ended(_: Capture, said: str) -> None:
            if said and len(self._headings) < _MAX_HEADINGS:
                self._headings.append(said)
            elif said:
                self._cut = True

        self._capture(node, ended)

    def _image(self, node: LexborNode) -> None:
        # In a link or button, the text of an image is part of the label.
        if self._captures:
            self._captures[-1].parts.append(f" {node.attributes.get('alt') or ''} ")

    def _link(self, node: LexborNode) -> None:
        if self._dark:
            return
        link = self._reader.link(node) if self._links < _MAX_LINKS else None
        if link is None:
            self._cut |= self._links >= _MAX_LINKS
            return

        def ended(_: Capture, said: str) -> None:
            link.label = said or link.label or _last_segment(link.href)
            if self._is_affordable(link):
                self._links += 1
                self._add(link)

        self._capture(node, ended)

    def _button(self, node: LexborNode) -> None:
        button = self._reader.button(node, self._form)

        def ended(_: Capture, said: str) -> None:
            button.label = button.label or said or tidy(node.attributes.get("title") or button.value, LABEL_CHARS)

        self._capture(node, ended)
        self._field(node, button)

    def _input(self, node: LexborNode) -> None:
        control = self._reader.input(node, self._form)
        if control.kind == "radio":
            self._radio(node, control)
        else:
            self._field(node, control)

    def _field(self, node: LexborNode, control: Control) -> None:
        """Adds a field or button of a form."""
        if self._datalists:
            # Sent by Chromium, and not checked.
            control.required, control.rules = False, {}
        if "disabled" in node.attributes or self._fieldsets.disabled:
            if control.kind == "button" and control.role == "submit":
                # Enter presses the first button, and does nothing if it is disabled.
                self._add(Control("hidden", form=control.form, role="submit"))
                self._order += 1
            return
        if not self._is_affordable(control):
            self._leave_out(control)
            return
        self._order += 1
        if control.kind != "hidden" and not self._dark and self._may_show(control):
            self._shown.append(len(self._controls))
            if control.kind != "button":
                self._register_field(len(self._controls))
        self._add(control)

    def _may_show(self, control: Control) -> bool:
        if control.kind == "button":
            self._buttons += 1
            may = self._buttons <= _MAX_BUTTONS
        else:
            self._fields += 1
            may = self._fields <= _MAX_FIELDS
        self._cut |= not may
        return may

    def _leave_out(self, control: Control) -> None:
        self._cut = True
        if control.form is not None:
            self._cut_forms.add(control.form)

    def _radio(self, node: LexborNode, radio: Control) -> None:
        if "disabled" in node.attributes or self._fieldsets.disabled:
            return
        radio.orders = (self._order,)
        # A button without a name is alone.
        key = (radio.form, radio.name)
        position = self._radios.get(key) if radio.name else None
        if position is None:
            position = len(self._controls)
            self._field(node, radio)
            if position < len(self._controls) and radio.name:
                self._radios[key] = position
            return
        group = self._controls[position]
        if not self._is_affordable(radio):
            self._leave_out(radio)
            return
        self._order += 1
        if not self._dark:
            self._register_field(position)
        group.chosen = len(group.options) if radio.chosen == 0 else group.chosen
        group.options += radio.options
        group.sends += radio.sends
        group.orders += radio.orders
        group.required |= radio.required

    def _label_ended(self, label: Capture, said: str) -> None:
        for position in label.field_positions if said else ():
            control = self._controls[position]
            if control.kind == "radio":
                control.options = (*control.options[:-1], said)
            else:
                control.label = said

    def _add(self, control: Control) -> None:
        if control.kind == "link":
            self._shown.append(len(self._controls))
        self._controls.append(control)
        # A link is added after its own text.
        words = len(control.label) if control.kind == "link" else 0
        self._text_before.append(max(self._text_chars - words, 0))

    def _is_affordable(self, control: Control) -> bool:
        """Returns whether the page may hold this control too; then counts it."""
        rules = control.rules.values() if control.rules else ()
        text = "".join(
            (control.label, control.href, control.name, control.value, *control.options, *control.sends, *rules)
        )
        cost = _CONTROL_COST + (len(text) if text.isascii() else len(text.encode()))
        if self._control_bytes + cost > _CONTROL_BYTES:
            self._cut = True
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
        return refresh_url((meta.attributes.get("content") or "") if meta else "", self._reader.base)


def _last_segment(url: str) -> str:
    path = url.split("?", 1)[0].split("#", 1)[0].rstrip("/")
    return tidy(path.rsplit("/", 1)[-1], LABEL_CHARS)
