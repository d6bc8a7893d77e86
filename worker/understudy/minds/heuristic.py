"""The heuristic mind: a baseline that reads labels, not meaning."""

from dataclasses import replace

from understudy.domain.simulation import Action, Decision, Turn
from understudy.minds.character import Personality
from understudy.minds.choices import Choice, Choices, picking
from understudy.minds.conversation import decide_reply
from understudy.minds.goals import Goal, parse_goal, prefixes_of
from understudy.minds.memory import Memory, key_of
from understudy.minds.opinions import decide_on_texts
from understudy.minds.page_features import PageFeatures
from understudy.minds.thoughts import thought
from understudy.minds.word_stems import concepts

#: Reasons for want of a better one.
_VAGUE = frozenset(("explore", "back"))
_MOVES = frozenset(("follow", "press", "back"))
#: Weights of the words of an instruction and of the task while it is to be carried out, and after.
_OVERRIDING = (2.0, 0.3)
_KEPT_IN_MIND = (0.5, 1.0)


class HeuristicMind:
    """Goes by word overlap, a few rules about shops, searches and forms, and the person's traits.

    A baseline: it understands no sentence, sees no picture, and knows a site only by the words on it. It
    finds what is labelled as the task says, and gets lost where a person with common sense would not. The
    same person, seed and turn give the same decision everywhere; no model is asked, nothing is kept.
    """

    async def decide(self, turn: Turn) -> Decision:
        """The next action; a matter of milliseconds, whatever the page and the length of the run."""
        if "answer" in turn.observation.actions:
            return decide_on_texts(turn)
        if "say" in turn.observation.actions:
            return decide_reply(turn)
        return _DecisionBuilder(turn).decide()


class _DecisionBuilder:
    """One decision."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._seen = turn.observation
        self._memory = Memory.load(turn.memory)
        self._character = Personality(turn.person, turn.seed)
        self._task = parse_goal(turn.assignment.task)
        self._direction = parse_goal(turn.instruction) if turn.instruction else None
        self._apply_instruction()
        self._aim = self._aim_now()
        self._view = PageFeatures(self._seen, self._aim)
        self._progress = 0.0

    def decide(self) -> Decision:
        self._update_mood()
        if self._aim.ends:
            return self._last("finish", "I was told to stop, so I stop here.", 0.0)
        if self._turn.assignment.success is None and self._is_done():
            return self._last("finish", "That is it: I have what I came for.", 0.8)
        if self._memory.frustration >= self._character.frustration_limit:
            return self._last("give_up", f"I have had enough of this. {self._complaint()}", -0.9)
        choice = self._choose()
        if choice is None or choice.score < self._character.min_choice_score:
            if self._memory.last_kind == "wait" or choice is not None:
                return self._last("give_up", "I have tried everything I can think of here.", -0.7)
            choice = Choice(0.0, "wait", "wait")
        return self._do(choice)

    # What happened since

    def _apply_instruction(self) -> None:
        """A new instruction is a new beginning; so is being taken up again."""
        memory = self._memory
        told = key_of(self._turn.instruction) if self._turn.instruction else ""
        if self._turn.resumed or told != memory.told:
            memory.frustration = 0.0
        if told != memory.told:
            memory.told, memory.told_step, memory.told_tries, memory.told_done = told, 0, 0, False

    def _aim_now(self) -> Goal:
        """The task; with an instruction, that first, then the task with the instruction still in mind."""
        task, direction = self._task, self._direction
        if direction is None:
            return task
        of_direction, of_task = _KEPT_IN_MIND if self._memory.told_done else _OVERRIDING
        if direction.words and (direction.buys or direction.avoid & task.words.keys()):
            # Another thing instead is another aim, for good.
            of_direction, of_task = _OVERRIDING
        elif not direction.words:
            of_task = 1.0
        words = {word: weight * of_task for word, weight in task.words.items() if word not in direction.avoid}
        for word, weight in direction.words.items():
            words[word] = max(words.get(word, 0.0), weight * of_direction)
        return replace(
            task,
            words=words,
            starts=prefixes_of(words),
            pairs=task.pairs | direction.pairs,
            names=direction.names or task.names,
            queries=tuple(dict.fromkeys(direction.queries + task.queries)),
            exact=task.exact | direction.exact,
            avoid=(task.avoid | direction.avoid) - direction.words.keys(),
            wants=task.wants | (direction.wants if not self._memory.told_done else frozenset()),
            buys=(task.buys and "buy" not in direction.avoid) or direction.buys,
            quantity=direction.quantity or task.quantity,
            language=direction.language or task.language,
            ends=direction.ends,
        )

    def _update_mood(self) -> None:
        """Take in what became of the last action: how much nearer, how much more annoyed."""
        memory, view, seen = self._memory, self._view, self._seen
        covered = view.covered(self._aim)
        moved = memory.last_kind in _MOVES or not memory.last_kind
        visits = memory.count(memory.seen, view.place) if moved else memory.seen.get(view.place, 0)
        if memory.last_kind == "back" and seen.problem and memory.last_place == view.place:
            memory.depth = 0
        annoyed = 0.01
        if seen.problem:
            annoyed += 0.22
        elif memory.last_kind in _MOVES and memory.last_look == view.look:
            annoyed += 0.2
        elif moved and visits > 2:
            annoyed += 0.1
        if memory.last_reason in ("explore", "back"):
            annoyed += 0.05
        if covered > memory.best + 0.05:
            self._progress = covered - memory.best
            annoyed -= 0.25
        if (memory.last_kind, memory.last_reason) == ("press", "add") and not seen.problem:
            memory.in_cart = True
            self._progress = 0.5
            annoyed -= 0.25
        elif memory.in_cart and self._cart_is_empty():
            memory.in_cart = False
            annoyed += 0.15
        if memory.last_reason == "language" and memory.told_step == 2:
            memory.told_done = True
        memory.best = max(memory.best, covered)
        memory.frustration = min(max(memory.frustration + annoyed, 0.0), 10.0)
        memory.turns += 1

    def _cart_is_empty(self) -> bool:
        about_cart = "cart" in concepts(self._seen.title) or any(
            "cart" in concepts(heading) for heading in self._seen.headings[:3]
        )
        text = self._seen.text[:5_000].casefold()
        return about_cart and any(word in text for word in (" empty", " leer", " vide", " vacío"))

    def _is_done(self) -> bool:
        """Does it look as if the task were done? Only asked when nobody else can tell."""
        seen, memory = self._seen, self._memory
        if memory.turns < 2 or (seen.status or 200) >= 400 or seen.problem:
            return False
        if self._direction is not None and not memory.told_done:
            return False
        if self._aim.buys:
            said = concepts(" ".join((seen.title, *seen.headings[:5])))
            return "confirm" in said or ({"thanks", "order"} <= said)
        if memory.last_reason == "send":
            return bool(concepts(seen.text[:300]) & {"confirm", "thanks"})
        return bool(self._aim.words) and self._view.covered(self._aim) > 0.99

    # What to do now

    def _choose(self) -> Choice | None:
        if self._aim.language and not self._memory.told_done:
            picked = picking(self._view, self._aim.language, self._memory)
            if picked is not None:
                return picked
        best = Choices(self._view, self._aim, self._turn.person, self._character, self._memory).best()
        return self._scrolling(best) or best

    def _scrolling(self, best: Choice | None) -> Choice | None:
        """Further down may be what is not here; but each part of a page is left that way only once."""
        if "scroll" not in self._seen.actions or (best and best.reason not in _VAGUE):
            return None
        key = key_of(self._view.place, self._view.look, "scroll")
        return None if key in self._memory.tried else Choice(0.5, "scroll", "scroll", key=key)

    def _do(self, choice: Choice) -> Decision:
        memory, view = self._memory, self._view
        element = choice.thing.element if choice.thing else None
        said = thought(choice, self._aim, self._character, memory, self._seen.problem)
        if choice.key:
            memory.count(memory.tried, choice.key)
        if choice.reason == "search" and choice.kind == "fill" and choice.value:
            memory.searches.append(choice.value)
        if choice.reason == "send" and choice.thing:
            memory.count(memory.tried, key_of(view.place, choice.thing.read.key, "sent"))
        if choice.kind in ("follow", "press"):
            memory.depth = min(memory.depth + 1, 20)
        elif choice.kind == "back":
            memory.depth = max(memory.depth - 1, 0)
        self._track_instruction(choice)
        memory.last_kind, memory.last_reason = choice.kind, choice.reason
        memory.last_place, memory.last_look = view.place, view.look
        memory.furniture = [thing.read.key for thing in view.things if thing.element.kind == "link"]
        return Decision(
            thought=said,
            action=Action(
                choice.kind,
                element.number if element else None,
                element.label[:200] if element else "",
                choice.value,
            ),
            sentiment=self._sentiment(),
            memory=memory.as_json(),
        )

    def _track_instruction(self, choice: Choice) -> None:
        """Is the instruction carried out by this?"""
        direction, memory = self._direction, self._memory
        if direction is None or memory.told_done or direction.language:
            return
        memory.told_tries += 1
        heard = self._view.match(choice.thing, direction) if choice.thing else 0.0
        enough = heard >= 0.6 * min(direction.weight, 2.0) if direction.words else choice.kind in _MOVES
        memory.told_done = (enough and choice.kind in _MOVES) or memory.told_tries > 10

    def _last(self, kind: str, said: str, sentiment: float) -> Decision:
        self._memory.last_kind = kind
        return Decision(said, Action(kind), sentiment, self._memory.as_json())

    def _complaint(self) -> str:
        return self._seen.problem[:150] or "I am not getting anywhere."

    def _sentiment(self) -> float:
        spent = self._memory.frustration / self._character.frustration_limit
        return round(min(max(0.3 + 0.5 * self._progress - 1.2 * spent, -1.0), 1.0), 2)
