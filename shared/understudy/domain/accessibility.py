"""The means by which a person uses a site or a chat, as far as environments support them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

#: Trait with the needs: one or more of the names below.
TRAIT = "accessibility"

#: Meaning of each name. Only minds may know other names.
SMALL_VIEWPORT = frozenset(("small_viewport",))
NO_POINTER = frozenset(("no_pointer", "keyboard_only", "screen_reader"))
HIGH_ZOOM = frozenset(("high_zoom", "low_vision"))

#: Visible characters: on a phone, on a large screen enlarged four times, on an enlarged phone.
_SMALL_CHARS = 1_000
_ZOOMED_CHARS = 500
_BOTH_CHARS = 300


@dataclass(frozen=True, slots=True)
class AccessibilityNeeds:
    """The needs of a person. Default: a large screen, a pointer, no enlargement."""

    small_viewport: bool = False
    no_pointer: bool = False
    high_zoom: bool = False

    @classmethod
    def from_traits(cls, traits: Any) -> Self:
        """Returns the needs in a person's traits; ignores values of other types and unknown names."""
        value = traits.get(TRAIT) if isinstance(traits, Mapping) else None
        names = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
        needs = {name for name in names if isinstance(name, str)}
        return cls(bool(needs & SMALL_VIEWPORT), bool(needs & NO_POINTER), bool(needs & HIGH_ZOOM))

    @property
    def visible_chars(self) -> int | None:
        """Returns the number of visible characters; None: no limit."""
        if self.small_viewport and self.high_zoom:
            return _BOTH_CHARS
        if self.high_zoom:
            return _ZOOMED_CHARS
        return _SMALL_CHARS if self.small_viewport else None

    #: The name of `visible_chars` in plug-ins for earlier versions.
    window = visible_chars
