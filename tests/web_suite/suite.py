"""All cases of the web suite."""

from tests.web_suite.field_cases import FIELD_CASES
from tests.web_suite.owner_cases import OWNER_CASES
from tests.web_suite.rule_cases import RULE_CASES

CASES = (*OWNER_CASES, *FIELD_CASES, *RULE_CASES)
