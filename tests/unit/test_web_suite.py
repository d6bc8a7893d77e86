"""Forms send what Chromium sent in the same cases, as it was recorded."""

from collections import Counter

import pytest

from tests.web_suite.cases import Case
from tests.web_suite.offline import sent_offline
from tests.web_suite.payloads import recorded
from tests.web_suite.suite import CASES

RECORDED = recorded()


def test_cases_have_different_names_and_are_recorded() -> None:
    names = Counter(case.name for case in CASES)
    assert [name for name, count in names.items() if count > 1] == []
    assert names.keys() == RECORDED.keys()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_form_sends_what_chromium_sends(case: Case) -> None:
    sent = sent_offline(case)
    if case.differs:
        assert sent != RECORDED[case.name], "the case no longer differs: remove its reason"
    else:
        assert sent == RECORDED[case.name]
