"""Steps of a case as actions, and what our reader and forms send without a network."""

from collections.abc import Iterator

import httpx

from tests.web_suite.cases import Case
from tests.web_suite.payloads import PAGE, Payload, body_text
from understudy.domain.simulation import Action
from understudy.environments.forms import ActionNotPossible, Forms, PageRequest
from understudy.environments.page_source import PageSource
from understudy.environments.reader import read_page


def step_of(step: str) -> tuple[str, str, str | None]:
    """Returns kind, target and value of a step."""
    kind, _, rest = step.partition(" ")
    target, separator, value = rest.partition("=")
    return kind, target, value if separator else None


def action_of(step: str, labels: dict[str, int]) -> Action:
    """Returns the action of a step; `labels` has the number of each element by its label."""
    kind, target, value = step_of(step)
    number = labels.get(target)
    if kind in ("check", "uncheck"):
        return Action("check", number, value="on" if kind == "check" else "off")
    return Action("press" if kind == "enter" else kind, number, value=value)


def labels_of(elements: Iterator[tuple[str, int]]) -> dict[str, int]:
    """Returns the number of the first element of each label, without the notes in brackets."""
    found: dict[str, int] = {}
    for label, number in elements:
        found.setdefault(label.split(" (")[0], number)
    return found


def sent_offline(case: Case) -> Payload | None:
    """Returns what our reader and forms would send, without a network."""
    content_type, _, parameters = case.header().partition(";")
    source = PageSource(f"http://site.test{PAGE}", parameters, is_xml="xhtml" in content_type)
    page = read_page(source, case.page_bytes())
    forms = Forms(page)
    labels = labels_of((element.label, element.number) for element in forms.elements())
    for step in case.steps:
        action = action_of(step, labels)
        try:
            request = _done(forms, action)
        except ActionNotPossible:
            continue
        if request is not None:
            return _payload(request)
    return None


def _done(forms: Forms, action: Action) -> PageRequest | None:
    value = action.value if isinstance(action.value, str) else None
    match action.kind:
        case "fill":
            forms.fill(action.element, value)
        case "choose":
            forms.choose(action.element, value)
        case "check":
            forms.check(action.element, value)
        case _:
            return forms.press(action.element)
    return None


def _payload(request: PageRequest) -> Payload:
    content_type, body = body_text(request.content_type, request.body or b"")
    # As the client writes the address.
    target = httpx.URL(request.url.split("#")[0]).raw_path.decode("ascii")
    return Payload(request.method, target, content_type, body)
