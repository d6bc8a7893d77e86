"""Web environment: real pages over HTTP, without a browser and without scripts."""

from dataclasses import replace

from understudy.domain.accessibility import AccessibilityNeeds
from understudy.domain.addresses import AllowedAddresses
from understudy.domain.simulation import Action, Element, Json, Observation, Person
from understudy.domain.userinfo import without_userinfo
from understudy.environments import EnvironmentUnreachable
from understudy.environments.fetch import FetchResult, HttpSession
from understudy.environments.forms import ActionNotPossible, Forms, PageRequest
from understudy.environments.guarded_transport import Resolver
from understudy.environments.navigation import accept_language
from understudy.environments.page import Page, clean
from understudy.environments.viewport import Window, windows
from understudy.isolation.resolver import resolve

_MAX_BACK = 20
#: Actions on a page that is only partly in view.
WINDOWED = ("follow", "fill", "choose", "check", "press", "scroll", "back", "wait")
_PROBLEM_CHARS = 1_000
_NEEDS_SCRIPTS = "This page needs JavaScript: without it there is nothing to see."


class WebEnvironment:
    """Holds one participant's browser state: page, form values, cookies, and history.

    `content` is `{"environment": "web", "url": "https://…"}`. `addresses` decides which hosts may be visited.
    `access` decides which parts of a page are in view and reachable, `person` in which languages pages are asked for.
    An aborted request leaves the state unchanged.
    """

    takes_access = True
    takes_addresses = True
    takes_person = True

    def __init__(
        self,
        content: Json,
        *,
        allow_private_hosts: bool,
        addresses: AllowedAddresses | None = None,
        access: AccessibilityNeeds | None = None,
        person: Person | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        url = content.get("url")
        self._start = clean(url.strip()) if isinstance(url, str) else ""
        self._access = access or AccessibilityNeeds()
        self._visitor = HttpSession(
            addresses=addresses or AllowedAddresses.of(all_private=allow_private_hosts),
            start=self._start,
            resolver=resolver,
            access=self._access,
            languages=accept_language(person.language, person.country) if person else "en",
        )
        self._url = ""
        self._status: int | None = None
        self._problem = ""
        self._page = Page()
        self._forms = Forms(self._page)
        #: Pages to go back to, latest last; only pages that a GET can repeat.
        self._back: list[str] = []
        self._answers_post = False
        #: Index of the window in view, if the page does not fit into one.
        self._above = 0

    async def open(self) -> None:
        """Opens the first page, even an error page (404). Raises EnvironmentUnreachable without a page."""
        if not self._start:
            raise EnvironmentUnreachable("the iteration's content has no url; set a start page")
        arrival = await self._visitor.fetch_when_possible(PageRequest(self._start))
        if arrival.page is None and not arrival.stays:
            raise EnvironmentUnreachable(f"{arrival.url[:500]}: {arrival.problem}")
        self._arrive(arrival)

    async def restore(self, snapshot: Json) -> None:
        """Restores the page of `snapshot` with its form values. Sends nothing."""
        self._url = without_userinfo(snapshot["url"])
        self._status = snapshot["status"]
        self._problem = snapshot["problem"]
        self._page = Page.from_json(snapshot["page"])
        self._forms = Forms(self._page, snapshot["filled"])
        self._back = list(snapshot["back"])
        self._answers_post = snapshot["answers_post"]
        # Older snapshots have neither windows nor the kind of the start page.
        self._above = snapshot.get("above", 0)
        self._visitor.resume(snapshot.get("from_public"))
        self._visitor.cookies.load(snapshot["cookies"], snapshot.get("cookie_details", ()))

    def observe(self) -> Observation:
        page, windows = self._page, self._windows()
        elements, headings = self._reachable(), page.headings
        if len(windows) == 1:
            return self._observation(page.text, elements, headings)
        window = windows[min(self._above, len(windows) - 1)]
        number_at = zip((control.number for control in page.controls), page.places, strict=False)
        shown = {number for number, offset in number_at if window.shows(offset)}
        text = page.text[window.start : window.end]
        seen = self._observation(
            text,
            tuple(element for element in elements if element.number in shown),
            tuple(heading for heading in headings if heading in text),
        )
        return replace(seen, actions=WINDOWED, whole=page.text + page.rest)

    def _observation(self, text: str, elements: tuple[Element, ...], headings: tuple[str, ...]) -> Observation:
        return Observation(
            url=self._url,
            title=self._page.title,
            text=text,
            headings=headings,
            elements=elements,
            status=self._status,
            problem=self._problem or (_NEEDS_SCRIPTS if self._page.needs_scripts else ""),
            whole=self._page.text + self._page.rest if self._page.rest else None,
            cut=self._page.cut,
        )

    def _windows(self) -> list[Window]:
        text, size = self._page.text, self._access.visible_chars
        return [Window(0, len(text))] if size is None else windows(text, size)

    def _reachable(self) -> tuple[Element, ...]:
        elements = self._forms.elements()
        if not self._access.no_pointer:
            return elements
        by_number = self._page.by_number
        return tuple(e for e in elements if not by_number[e.number].pointer_only)

    async def act(self, action: Action) -> None:
        """Performs the action; `wait`, `finish` and `give_up` do nothing."""
        self._problem = ""
        try:
            await self._do(action)
        except ActionNotPossible as error:
            self._problem = clean(str(error))[:_PROBLEM_CHARS]

    def snapshot(self) -> Json:
        """Returns the parsed page, a tenth of its HTML, so that a restore does not parse it again."""
        return {
            "url": self._url,
            "status": self._status,
            "problem": self._problem,
            "page": self._page.as_json,
            "filled": self._forms.as_json(),
            "back": list(self._back),
            "answers_post": self._answers_post,
            **({"above": self._above} if self._above else {}),
            "from_public": self._visitor.from_public,
            "cookies": self._visitor.cookies.dump(),
            "cookie_details": self._visitor.cookies.details(),
        }

    async def close(self) -> None:
        await self._visitor.close()

    async def _do(self, action: Action) -> None:
        value = action.value if isinstance(action.value, str) else None
        if action.element is not None and self._access != AccessibilityNeeds():
            self._require_reachable(action.element)
        match action.kind:
            case "follow":
                await self._follow(self._forms.control(action.element, "link").href)
            case "fill":
                self._forms.fill(action.element, value)
            case "choose":
                select = self._forms.choose(action.element, value)
                if select.sends_form:
                    await self._go(self._forms.sent_by(select))
            case "check":
                self._forms.check(action.element, value)
            case "press":
                await self._go(self._forms.press(action.element))
            case "back":
                await self._go_back()
            case "scroll":
                self._scroll()
            case "wait" | "finish" | "give_up":
                pass
            case _:
                raise ActionNotPossible(f'The action "{action.kind[:50]}" is not possible here.')

    def _require_reachable(self, number: int) -> None:
        """Raises ActionNotPossible if the person cannot see or reach the control now."""
        control = self._page.by_number.get(number)
        if control is None or any(element.number == number for element in self.observe().elements):
            return
        if self._access.no_pointer and control.pointer_only:
            raise ActionNotPossible(f'"{control.label}" cannot be reached with the keyboard.')
        raise ActionNotPossible(f'"{control.label}" is not in view.')

    def _scroll(self) -> None:
        parts = len(self._windows())
        if parts == 1:
            raise ActionNotPossible("All of the page is in view.")
        self._above = (self._above + 1) % parts

    async def _follow(self, url: str) -> None:
        page, is_fragment, _ = url.partition("#")
        if is_fragment and page == self._url.partition("#")[0] and self._status is not None:
            # A fragment of the same page: no request.
            self._remember()
            self._url = url
        else:
            await self._go(PageRequest(url))

    async def _go(self, visit: PageRequest) -> None:
        arrival = await self._visitor.fetch(visit, referrer=self._referrer)
        if arrival.stays:
            self._problem = arrival.problem
            return
        self._remember()
        self._arrive(arrival)

    async def _go_back(self) -> None:
        if not self._back:
            raise ActionNotPossible("There is no page to go back to.")
        arrival = await self._visitor.fetch(PageRequest(self._back[-1]), referrer=self._referrer)
        self._back.pop()
        self._arrive(arrival)

    @property
    def _referrer(self) -> str:
        """Returns the page that leads to the next one; none if it could not be opened: its address may be invalid."""
        return "" if self._status is None else self._url

    def _remember(self) -> None:
        # `back` skips the answer to a form: showing it again would submit the form again.
        if not self._answers_post and self._url:
            self._back = [*self._back, self._url][-_MAX_BACK:]

    def _arrive(self, arrival: FetchResult) -> None:
        self._url = clean(arrival.url)
        self._status = arrival.status
        self._problem = clean(arrival.problem)[:_PROBLEM_CHARS]
        self._page = arrival.page or Page()
        self._above = 0
        self._forms = Forms(self._page)
        self._answers_post = arrival.answers_post
