"""Fieldsets: a disabled one disables its fields, except those in its first legend."""

from dataclasses import dataclass

from selectolax.lexbor import LexborNode


@dataclass(slots=True)
class _Open:
    mem_id: int
    #: Its first legend, or 0.
    legend: int
    in_legend: bool = False


class DisabledFieldsets:
    """Follows the disabled fieldsets around the place that is being read."""

    def __init__(self) -> None:
        #: Outermost first.
        self.open: list[_Open] = []

    @property
    def disabled(self) -> bool:
        """Whether a field at this place is disabled."""
        return any(not fieldset.in_legend for fieldset in self.open)

    def enter(self, node: LexborNode) -> None:
        """Enters a fieldset."""
        if "disabled" in node.attributes:
            legend = next((child.mem_id for child in node.iter() if child.tag == "legend"), 0)
            self.open.append(_Open(node.mem_id, legend))

    def enter_legend(self, node: LexborNode) -> None:
        """Enters a legend."""
        for fieldset in self.open:
            fieldset.in_legend |= fieldset.legend == node.mem_id

    def leave(self, mem_id: int) -> None:
        """Leaves a node."""
        if self.open[-1].mem_id == mem_id:
            self.open.pop()
            return
        for fieldset in self.open:
            if fieldset.legend == mem_id:
                fieldset.in_legend = False
