"""`understudy watch` on a real server: it shows changes at once, prints each event once, and can be continued."""

import json
import threading
from collections.abc import Callable
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.contract.manual_worker import make_run, run_to_end
from tests.event_client import all_events
from tests.http_client import ApiClient
from tests.servers import wait_until
from understudy.cli import app, feed, progress
from understudy.cli.feed import EventFeed
from understudy.cli.progress import follow_run, study_poller
from understudy.client import Understudy
from understudy.store.engine import Store

Cli = Callable[..., Result]


@pytest.fixture
def understudy(acme: ApiClient) -> Cli:
    """Runs a command in this process, as acme."""

    def run(*args: str) -> Result:
        options = ["--server", acme.api, "--token", acme.secret]
        return CliRunner().invoke(app, [*args, *options], catch_exceptions=False)

    return run


@pytest.fixture
def study(store: Store, acme: ApiClient) -> tuple[UUID, list[UUID]]:
    return make_run(store, acme, 3)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_event_is_a_line_of_json_until_all_participants_are_terminal(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], understudy: Cli
) -> None:
    study_id, ids = study
    run_to_end(store, ids[0], 2)
    rest = threading.Timer(0.5, lambda: [run_to_end(store, id_, 2) for id_ in ids[1:]])
    rest.start()
    result = understudy("watch", str(study_id), "--events")
    rest.join()
    assert result.exit_code == 0
    events = all_events(acme, study_id=study_id)
    assert lines(result) == [{**one.data, "id": one.id, "event": one.event} for one in events]
    assert len(events) == 15
    # Events of a terminal participant are printed, too, after any event.
    again = understudy("watch", str(ids[0]), "--events", "--after", str(events[3].id))
    expected = [one.id for one in events[4:] if one.data["participant_id"] == str(ids[0])]
    assert [line["id"] for line in lines(again)] == expected


def test_a_watch_that_times_out_says_how_to_continue(study: tuple[UUID, list[UUID]], understudy: Cli) -> None:
    result = understudy("watch", str(study[0]), "--events", "--timeout", "0.5")
    assert (result.exit_code, len(lines(result))) == (5, 3)
    assert f"understudy watch {study[0]} --events --after 3" in result.stderr


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("args", ["t-123 t-456 --events", "s-123 --after 3", "s-123 --events --after x"])
def test_a_watch_with_options_that_do_not_go_together_is_refused(understudy: Cli, args: str) -> None:
    assert understudy("watch", *args.split()).exit_code == 2


def test_a_change_is_shown_at_once(
    store: Store, acme: ApiClient, study: tuple[UUID, list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without an event the next read would come an hour later.
    monkeypatch.setattr(progress, "FALLBACK_POLL_S", 3600.0)
    monkeypatch.setattr(progress, "INTERVAL_S", 3600.0)
    monkeypatch.setattr(feed, "DEBOUNCE_S", 0.05)
    study_id, ids = study
    shown = StringIO()
    with Understudy(acme.api, acme.secret) as client:
        events = client.events(study_id=study_id)
        watching = threading.Thread(
            target=follow_run,
            args=(study_poller(client, str(study_id), 0), Console(file=shown)),
            kwargs={"feed": EventFeed([lambda: events])},
            daemon=True,
        )
        watching.start()
        wait_until(lambda: "3 pending" in shown.getvalue())
        run_to_end(store, ids[0], 1)
        wait_until(lambda: "1 completed" in shown.getvalue())
        for id_ in ids[1:]:
            run_to_end(store, id_, 1)
        watching.join(60)
    assert not watching.is_alive()
    assert "3 completed" in shown.getvalue()
