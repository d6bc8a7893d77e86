"""Settings refuse what cannot work together."""

import pydantic
import pytest

from understudy.settings import Settings


def test_a_lease_must_outlive_missed_heartbeats() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"heartbeat_interval_s \(4.0\).*lease_ttl_s \(9.0\)"):
        Settings(heartbeat_interval_s=4)


def test_a_lease_has_a_maximum_ttl() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"lease_ttl_s\n.*300"):
        Settings(lease_ttl_s=301)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="lease_ttl"):
        Settings(lease_ttl=9)  # type: ignore[call-arg]


def test_without_a_url_the_store_is_a_file_in_the_data_folder() -> None:
    assert Settings(data_dir="d").store_url.endswith("/d/understudy.db")
