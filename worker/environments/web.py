"""The web: real pages over real HTTP, without a browser. Scripts do not run here."""

from shared.domain.simulation import Action, Json, Observation
from worker.environments import EnvironmentUnreachable, cookies
from worker.environments.forms import Forms, Misfit, Visit
from worker.environments.page import Page, clean
from worker.environments.transport import Resolver, resolve
from worker.environments.visits import Arrival, Visitor

_MAX_BACK = 20
_PROBLEM_CHARS = 1_000


class WebEnvironment:
    """One person's browsing: a page, what is typed into it, cookies, and the way back.

    `content` is `{"environment": "web", "url": "https://…"}`. Private and loopback addresses can be visited
    only with `allow_private_hosts`. An aborted request leaves everything here as it was before.
    """

    def __init__(self, content: Json, *, allow_private_hosts: bool, resolver: Resolver = resolve) -> None:
        self._start = content.get("url")
        self._visitor = Visitor(allow_private_hosts=allow_private_hosts, resolver=resolver)
        self._url = ""
        self._status: int | None = None
        self._problem = ""
        self._page = Page()
        self._forms = Forms(self._page)
        #: Pages to go back to, latest last: only such as can be asked for again.
        self._back: list[str] = []
        self._answers_post = False

    async def open(self) -> None:
        """Go to the first page. An error page (404, 500) is one; no answer raises EnvironmentUnreachable."""
        if not isinstance(self._start, str) or not self._start.strip():
            raise EnvironmentUnreachable("the iteration's content has no url to start from")
        arrival = await self._visitor.go(Visit(clean(self._start.strip())))
        if arrival.page is None and not arrival.stays:
            raise EnvironmentUnreachable(f"{arrival.url[:500]}: {arrival.problem}")
        self._arrive(arrival)

    async def restore(self, snapshot: Json) -> None:
        """Be back on the page of `snapshot`, as it was. Sends nothing."""
        self._url = snapshot["url"]
        self._status = snapshot["status"]
        self._problem = snapshot["problem"]
        self._page = Page.from_json(snapshot["page"])
        self._forms = Forms(self._page, snapshot["filled"])
        self._back = list(snapshot["back"])
        self._answers_post = snapshot["answers_post"]
        self._visitor.jar.clear()
        cookies.load(self._visitor.jar, snapshot["cookies"])

    def observe(self) -> Observation:
        return Observation(
            url=self._url,
            title=self._page.title,
            text=self._page.text,
            headings=self._page.headings,
            elements=self._forms.elements(),
            status=self._status,
            problem=self._problem,
        )

    async def act(self, action: Action) -> None:
        """Do it; `wait`, `finish` and `give_up` do nothing here."""
        self._problem = ""
        try:
            await self._do(action)
        except Misfit as misfit:
            self._problem = clean(str(misfit))[:_PROBLEM_CHARS]

    def snapshot(self) -> Json:
        """The page as it was read: a tenth of its HTML, and nothing that could be read differently later."""
        return {
            "url": self._url,
            "status": self._status,
            "problem": self._problem,
            "page": self._page.as_json,
            "filled": self._forms.as_json(),
            "back": list(self._back),
            "answers_post": self._answers_post,
            "cookies": cookies.dump(self._visitor.jar),
        }

    async def close(self) -> None:
        await self._visitor.close()

    async def _do(self, action: Action) -> None:
        value = action.value if isinstance(action.value, str) else None
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
            case "wait" | "finish" | "give_up":
                pass
            case _:
                raise Misfit(f'Nobody knows how to "{action.kind[:50]}" here.')

    async def _follow(self, url: str) -> None:
        page, _, place = url.partition("#")
        if place and page == self._url.partition("#")[0] and self._status is not None:
            # Another place on the same page.
            self._remember()
            self._url = url
        else:
            await self._go(Visit(url))

    async def _go(self, visit: Visit) -> None:
        arrival = await self._visitor.go(visit, referrer=self._url)
        if arrival.stays:
            self._problem = arrival.problem
            return
        self._remember()
        self._arrive(arrival)

    async def _go_back(self) -> None:
        if not self._back:
            raise Misfit("There is no page to go back to.")
        arrival = await self._visitor.go(Visit(self._back[-1]), referrer=self._url)
        self._back.pop()
        self._arrive(arrival)

    def _remember(self) -> None:
        # What answered a form is skipped on the way back: seeing it again would mean sending the form again.
        if not self._answers_post and self._url:
            self._back = [*self._back, self._url][-_MAX_BACK:]

    def _arrive(self, arrival: Arrival) -> None:
        self._url = clean(arrival.url)
        self._status = arrival.status
        self._problem = clean(arrival.problem)[:_PROBLEM_CHARS]
        self._page = arrival.page or Page()
        self._forms = Forms(self._page)
        self._answers_post = arrival.answers_post
