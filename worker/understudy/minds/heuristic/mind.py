"""The heuristic mind: a baseline that matches labels and does not understand meaning."""

from dataclasses import replace

from understudy.domain.simulation import Action, Decision, Turn
from understudy.minds.heuristic.character import Personality
from understudy.minds.heuristic.choices import Choice, Choices, picking
from understudy.minds.heuristic.conversation import decide_reply
from understudy.minds.heuristic.goal_parser import Goal, parse_goal, prefixes_of
from understudy.minds.heuristic.memory import Memory, key_of
from understudy.minds.heuristic.page_features import PageFeatures
from understudy.minds.heuristic.thoughts import thought
from understudy.minds.heuristic.variant_reading import decide_on_texts
from understudy.minds.heuristic.word_stems import concepts

#: Reasons that do not refer to the goal.
_VAGUE = frozenset(("explore", "back"))
_MOVES = frozenset(("follow", "press", "back"))
#: Weights of the words of the instruction and of the task: before the instruction is done, and after.
_OVERRIDING = (2.0, 0.3)
_AFTER = (0.5, 1.0)


class HeuristicMind:
    """Decides by word overlap, rules about shops, searches and forms, and the person's traits.

    A baseline: it understands no sentences or pictures and sees only the words of a site. It finds targets
    whose labels match the task, and fails where common sense is needed. The same person, seed and turn give
    the same decision on every machine. It calls no model and keeps no state between calls.
    """

    async def decide(self, turn: Turn) -> Decision:
        """Returns the next action within milliseconds, for any page and any length of run."""
        if "answer" in turn.observation.actions:
            return decide_on_texts(turn)
        if "say" in turn.observation.actions:
            return decide_reply(turn)
        return _DecisionBuilder(turn).decide()


class _DecisionBuilder:
    """Builds one decision."""

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

    # Effects of the last action

    def _apply_instruction(self) -> None:
        """Resets the frustration for a new instruction and for a resumed run."""
        memory = self._memory
        key = key_of(self._turn.instruction) if self._turn.instruction else ""
        if self._turn.resumed or key != memory.instruction:
            memory.frustration = 0.0
        if key != memory.instruction:
            memory.instruction, memory.instruction_step = key, 0
            memory.instruction_tries, memory.instruction_done = 0, False

    def _aim_now(self) -> Goal:
        """Returns the task, merged with the instruction, which dominates until it is done."""
        task, direction = self._task, self._direction
        if direction is None:
            return task
        direction_weight, task_weight = _AFTER if self._memory.instruction_done else _OVERRIDING
        if direction.words and (direction.buys or direction.avoid & task.words.keys()):
            # The instruction replaces the target: it dominates permanently.
            direction_weight, task_weight = _OVERRIDING
        elif not direction.words:
            task_weight = 1.0
        words = {word: w * task_weight for word, w in task.words.items() if word not in direction.avoid}
        for word, weight in direction.words.items():
            words[word] = max(words.get(word, 0.0), weight * direction_weight)
        return replace(
            task,
            words=words,
            starts=prefixes_of(words),
            pairs=task.pairs | direction.pairs,
            names=direction.names or task.names,
            queries=tuple(dict.fromkeys(direction.queries + task.queries)),
            exact=task.exact | direction.exact,
            avoid=(task.avoid | direction.avoid) - direction.words.keys(),
            wants=task.wants | (direction.wants if not self._memory.instruction_done else frozenset()),
            buys=(task.buys and "buy" not in direction.avoid) or direction.buys,
            quantity=direction.quantity or task.quantity,
            language=direction.language or task.language,
            ends=direction.ends,
        )

    def _update_mood(self) -> None:
        """Updates progress and frustration from the result of the last action."""
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
        if memory.last_reason == "language" and memory.instruction_step == 2:
            memory.instruction_done = True
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
        """Returns whether the task looks done. Used only without a success condition."""
        seen, memory = self._seen, self._memory
        if memory.turns < 2 or (seen.status or 200) >= 400 or seen.problem:
            return False
        if self._direction is not None and not memory.instruction_done:
            return False
        if self._aim.buys:
            said = concepts(" ".join((seen.title, *seen.headings[:5])))
            return "confirm" in said or ({"thanks", "order"} <= said)
        if memory.last_reason == "send":
            return bool(concepts(seen.text[:300]) & {"confirm", "thanks"})
        return bool(self._aim.words) and self._view.covered(self._aim) > 0.99

    # The next action

    def _choose(self) -> Choice | None:
        if self._aim.language and not self._memory.instruction_done:
            picked = picking(self._view, self._aim.language, self._memory)
            if picked is not None:
                return picked
        best = Choices(self._view, self._aim, self._turn.person, self._character, self._memory).best()
        return self._scrolling(best) or best

    def _scrolling(self, best: Choice | None) -> Choice | None:
        """Returns a scroll if no choice refers to the goal; each part of a page is scrolled only once."""
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
        memory.repeated_links = [thing.read.key for thing in view.things if thing.element.kind == "link"]
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
        """Records whether this choice carries out the instruction."""
        direction, memory = self._direction, self._memory
        if direction is None or memory.instruction_done or direction.language:
            return
        memory.instruction_tries += 1
        match = self._view.match(choice.thing, direction) if choice.thing else 0.0
        enough = match >= 0.6 * min(direction.weight, 2.0) if direction.words else choice.kind in _MOVES
        memory.instruction_done = (enough and choice.kind in _MOVES) or memory.instruction_tries > 10

    def _last(self, kind: str, said: str, sentiment: float) -> Decision:
        self._memory.last_kind = kind
        return Decision(said, Action(kind), sentiment, self._memory.as_json())

    def _complaint(self) -> str:
        return self._seen.problem[:150] or "I am not getting anywhere."

    def _sentiment(self) -> float:
        spent = self._memory.frustration / self._character.frustration_limit
        return round(min(max(0.3 + 0.5 * self._progress - 1.2 * spent, -1.0), 1.0), 2)
