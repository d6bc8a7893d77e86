"""No attack on the API of a running server succeeds: the quick rows of `make attack`, on both kinds of store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.attack import Attack, run
from tests.attack.table import ATTACKS
from tests.attack.target import Target, target
from tests.conftest import EmptyStore
from understudy.settings import Settings

QUICK = [attack for attack in ATTACKS if attack.is_quick]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def attacked(
    request: pytest.FixtureRequest, empty_store: EmptyStore, broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """One API for all rows: no attack may disturb the next."""
    folder: Path = tmp_path_factory.mktemp("attacked")
    with empty_store(request.param) as url:
        settings = Settings(data_dir=folder, database_url=url, broker_url=broker_url)
        with target(settings) as started:
            yield started


@pytest.mark.parametrize("attack", QUICK, ids=lambda attack: attack.name)
def test_attack_on_a_running_api_holds(attacked: Target, attack: Attack) -> None:
    result = run(attack, attacked)
    assert list(result.failures) == []
    # The attack really sent several requests.
    assert len(result.answers) > 2
