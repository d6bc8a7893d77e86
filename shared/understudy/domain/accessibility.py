"""Access: by what means a person uses a site or a chat, as far as environments honour it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

#: The trait that says it: one or more of the names below.
TRAIT = "accessibility"

#: What each name means here. Others are known to minds at most.
SMALL_VIEWPORT = frozenset(("small_viewport",))
NO_POINTER = frozenset(("no_pointer", "keyboard_only", "screen_reader"))
HIGH_ZOOM = frozenset(("high_zoom", "low_vision"))

#: Characters in view at a time: on a phone, on a large screen enlarged four times, on a phone enlarged.
_SMALL_CHARS = 1_000
_ZOOMED_CHARS = 500
_BOTH_CHARS = 300


@dataclass(frozen=True, slots=True)
class AccessibilityNeeds:
    """Nothing of it: a large screen, a pointer, no enlargement."""

    small_viewport: bool = False
    no_pointer: bool = False
    high_zoom: bool = False

    @classmethod
    def of(cls, traits: Any) -> Self:
        """What a person's traits say; whatever is odd there says nothing."""
        said = traits.get(TRAIT) if isinstance(traits, Mapping) else None
        given = [said] if isinstance(said, str) else said if isinstance(said, list | tuple) else ()
        needs = {one for one in given if isinstance(one, str)}
        return cls(bool(needs & SMALL_VIEWPORT), bool(needs & NO_POINTER), bool(needs & HIGH_ZOOM))

    @property
    def window(self) -> int | None:
        """Characters in view at a time; None: as many as there are."""
        if self.small_viewport and self.high_zoom:
            return _BOTH_CHARS
        if self.high_zoom:
            return _ZOOMED_CHARS
        return _SMALL_CHARS if self.small_viewport else None
