"""What an extend may ask for. Contract section 4."""

import pytest

from understudy.domain.errors import ValidationError
from understudy.domain.extension import MAX_INSTRUCTION_LENGTH, plan_extension


@pytest.mark.parametrize("steps", [0, -1, 101])
def test_steps_out_of_bounds_name_the_bound(steps: int) -> None:
    with pytest.raises(ValidationError, match=f"from 1 to 100; {steps} was given"):
        plan_extension(steps, None, 100)


@pytest.mark.parametrize("steps", [1, 100])
def test_the_bounds_themselves_are_fine(steps: int) -> None:
    assert plan_extension(steps, None, 100).additional_steps == steps


@pytest.mark.parametrize("blank", [None, "", "  ", "\n\t"])
def test_a_blank_instruction_is_none(blank: str | None) -> None:
    assert plan_extension(1, blank, 100).instruction is None


def test_an_instruction_is_trimmed_before_it_is_measured() -> None:
    longest = "x" * MAX_INSTRUCTION_LENGTH
    assert plan_extension(1, f"  {longest}\n", 100).instruction == longest
    with pytest.raises(ValidationError, match="4,000"):
        plan_extension(1, longest + "x", 100)
