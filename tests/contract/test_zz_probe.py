import pytest
from tests.callers import Caller
@pytest.mark.parametrize("n", range(40))
def test_x(acme: Caller, n: int) -> None:
    assert acme.get("/v1/people").status_code == 200
