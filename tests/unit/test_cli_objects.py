"""The command line: get and people, and the server it talks to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.fake_api import (
    NEXT,
    OVER,
    PARTICIPANT,
    PERSON,
    STUDY,
    T1,
    T2,
    TOO_LATE,
    FakeApi,
    example,
    interaction,
    summary,
)
from understudy.cli.render import plain
from understudy.envelopes.journeys import Journey, JourneyStep

Cli = Callable[..., Result]


def missing(shown: str, *parts: str) -> list[str]:
    """The parts that are not shown."""
    return [part for part in parts if part not in shown]


def test_get_participant_shows_all_its_interactions(fake: FakeApi, understudy: Cli) -> None:
    path = "/v1/participants/t-1f3"
    fake.give(path, PARTICIPANT)
    first = {"items": [interaction(0, T2, "Where am I?")], "next_cursor": "c2"}
    second = {"items": [interaction(1, T1, "[b]Ah\x1b[2J[/b]")], "next_cursor": None}
    fake.give(f"/v1/participants/{T1}/interactions", first, second)
    shown = understudy("get", "t-1f3").stdout
    assert not missing(shown, "Ana Ruiz", "gave_up")
    assert shown.index("Where am I?") < shown.index("instructed") < shown.index("[b]Ah [2J[/b]")
    # Where the last step led to.
    assert shown.rindex("http://shop/x") > shown.index("[b]Ah")
    assert "\x1b" not in shown
    assert [asked.query for asked in fake.asked[1:]] == ["limit=500", "limit=500&cursor=c2"]


def test_get_with_a_status_lists_participants(fake: FakeApi, understudy: Cli) -> None:
    stuck = PARTICIPANT | {"status": "running", "likely_stuck": True, "stuck_reason": "Nobody is [b]there."}
    fake.give("/v1/participants", {"items": [stuck], "next_cursor": "c2"})
    shown = understudy("get", "s-b2c", "--status", "running", "--limit", "1").stdout
    next_page = "understudy get s-b2c --status running --limit 1 --cursor c2"
    assert not missing(shown, "running stuck?", next_page)
    understudy("get", "--status", "failed")
    assert [asked.query for asked in fake.asked] == ["study_id=s-b2c&status=running&limit=1", "status=failed"]
    fake.give("/v1/participants/t-1f3", stuck)
    fake.give(f"/v1/participants/{T1}/interactions", {"items": [], "next_cursor": None})
    assert "Nobody is [b]there." in understudy("get", "t-1f3").stdout


def test_get_study_shows_pages_of_its_views(fake: FakeApi, understudy: Cli) -> None:
    path = "/v1/studies/s-b2c"
    felt = {"highlight": "What a lamp!", "highlight_index": 1, "highlight_sentiment": 0.9}
    fake.give(path, summary(completed=2) | {"participants": [PARTICIPANT | felt], "next_cursor": "c2"})
    shown = understudy("get", "s-b2c", "--view", "per_participant", "--limit", "1").stdout
    next_page = "understudy get s-b2c --view per_participant --limit 1 --cursor c2"
    assert not missing(shown, "What a lamp!", next_page)
    said = {"participant_id": T1, "alias": "t-1f3", "person_name": "Ana Ruiz", "status": "completed"}
    items = [{"role": "person", "content": "I see\x1b[2J lamps.", "index": 0}]
    transcript = said | {"outcome": None, "items": items}
    fake.answers.clear()
    fake.give(path, summary(completed=1) | {"transcripts": [transcript], "next_cursor": None})
    shown = understudy("get", "s-b2c", "--view", "transcripts", "--cursor", "c2").stdout
    assert not missing(shown, "Ana Ruiz", "I see [2J lamps.")
    assert [asked.query for asked in fake.asked] == ["view=per_participant&limit=1", "view=transcripts&cursor=c2"]


def test_a_failed_participant_is_shown_with_its_error_or_the_command_for_it(fake: FakeApi, understudy: Cli) -> None:
    failed = PARTICIPANT | {"status": "failed", "error_kind": "simulator_error", "error_message": "No [b]."}
    fake.give("/v1/studies/s-b2c", STUDY, summary(failed=1))
    fake.give("/v1/participants", {"items": [PARTICIPANT, failed], "next_cursor": None})
    line = "t-1f3 (Ana Ruiz) failed: simulator_error: No [b]."
    assert line in understudy("get", "s-b2c").stdout
    (state,) = OVER["participants"]
    ended = state | {"status": "failed", "outcome": None, "error_kind": "simulator_error"}
    fake.give("/v1/simulations/wait", OVER | {"participants": [ended]})
    assert f"Why it failed: understudy get {T1}" in understudy("wait", "t-1f3").stdout
    fake.give(f"/v1/participants/{T1}", failed)
    assert line in understudy("wait", "t-1f3").stdout


def test_get_study_shows_counts_and_participants(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/studies/s-b2c", STUDY, summary(completed=1))
    fake.give("/v1/participants", {"items": [PARTICIPANT], "next_cursor": "more"})
    shown = understudy("get", "s-b2c").stdout
    parts = ("Buy a lamp", "address contains '/thanks'", "1 completed", "i-c3d", "t-1f3", "2/20")
    assert not missing(shown, *parts, "Next page: understudy get s-b2c --cursor more")


@pytest.mark.parametrize(("kind", "answer"), [("participants", PARTICIPANT), ("studies", STUDY), ("people", PERSON)])
def test_get_reads_a_uuid_as_each_kind(fake: FakeApi, understudy: Cli, kind: str, answer: Any) -> None:
    fake.give(f"/v1/{kind}/{T1}", answer)
    assert json.loads(understudy("get", T1, "--json").stdout) == answer


def test_get_of_an_unknown_uuid_is_not_found(fake: FakeApi, understudy: Cli) -> None:
    result = understudy("get", T1, "--json")
    assert (result.stdout, result.exit_code) == ("", 4)
    assert json.loads(result.stderr)["error_code"] == "not_found"


def test_cancel_shortens_a_long_list_but_shows_each_failure(fake: FakeApi, understudy: Cli) -> None:
    ids = [f"1f3a0000-0000-4000-8000-{number:012}" for number in range(300)]
    items = [{"participant_id": id_, "success": True, "status": "cancelled"} for id_ in ids]
    items[-1] |= {"success": False, "status": "[service_unavailable] Away."}
    counts = {"total": 300, "cancelled_count": 299, "skipped_count": 0, "failed_count": 1}
    fake.give("/v1/simulations/cancel", {"cancelled": items, "skipped": [], "summary": counts})
    result = understudy("cancel", "--study", "s-b2c")
    sums = "299 cancelled, 0 skipped, 1 could not be cancelled"
    assert not missing(result.stdout, "[service_unavailable] Away.", "… and 280 more", sums)
    assert result.exit_code == 5


def test_commands_to_copy_are_not_broken_into_lines(fake: FakeApi, understudy: Cli) -> None:
    long = {**NEXT, "cli": "understudy wait " + " ".join(f"t-{number:03}" for number in range(100))}
    fake.give("/v1/simulations/wait", {**TOO_LATE, "next_action": long}, status=202)
    assert f"Next: {long['cli']}\n" in understudy("wait", "t-1f3").stdout


def test_get_participant_shows_its_transcript(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/participants/t-1f3/transcript", {"items": [{"role": "user", "content": "Switch to German."}]})
    assert "Switch to German." in understudy("get", "t-1f3", "--view", "transcript").stdout


def test_people_are_shown_as_plain_text(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/people", {"items": [PERSON], "next_cursor": "c2"})
    shown = understudy("people", "list").stdout
    assert not missing(shown, "Ana  [31m[bold]Ruiz", "Next page: understudy people list --cursor c2")
    fake.give("/v1/people/tp-1f3", PERSON)
    assert "patience 0.2, accessibility low_vision" in understudy("people", "show", "tp-1f3").stdout


ANA = {"name": "Ana", "age": 41, "country": "ES", "language": "es"}


def test_people_add_sends_its_options(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/people", PERSON, status=201)
    options = [part for field, value in ANA.items() for part in (f"--{field}", str(value))]
    result = understudy("people", "add", *options, "--trait", "patience=0.2", "--trait", "device=phone")
    assert (result.exit_code, fake.bodies) == (0, [{**ANA, "traits": {"patience": 0.2, "device": "phone"}}])


@pytest.mark.parametrize(
    ("content", "answer", "body"),
    [
        (ANA, PERSON, ANA),
        ([ANA], {"items": [PERSON]}, {"people": [ANA]}),
        ({"people": [ANA]}, {"items": [PERSON]}, {"people": [ANA]}),
    ],
    ids=["one", "a list", "an object"],
)
def test_people_add_sends_a_file_or_its_input(
    fake: FakeApi, understudy: Cli, tmp_path: Path, content: Any, answer: Any, body: Any
) -> None:
    fake.give("/v1/people", answer, status=201)
    file = tmp_path / "people.json"
    file.write_text(json.dumps(content))
    added = understudy("people", "add", str(file)), understudy("people", "add", "-", stdin=file.read_text())
    assert [one.exit_code for one in added] == [0, 0]
    assert fake.bodies == [body] * 2


@pytest.mark.parametrize("wrong", ["{", "3", '"Ana"', "[" * 100_000], ids=["half of it", "3", "text", "too deep"])
def test_people_add_refuses_input_without_people(fake: FakeApi, understudy: Cli, wrong: str) -> None:
    assert understudy("people", "add", "-", stdin=wrong).exit_code == 2
    assert not fake.asked


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"name,age\nAda,36\nB\0o,41\n", "line 3: NUL character; remove it. No people were imported."),
        ("name;age\nZoë;36".encode("latin-1"), "is neither UTF-8 nor UTF-16 text; save it as UTF-8"),
        (b'\xef\xbb\xbf{"people": [', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (None, "cannot be read: No such file or directory"),
    ],
    ids=["NUL", "Latin-1", "half of it", "too deep", "missing"],
)
def test_people_import_does_not_send_an_unreadable_file(
    fake: FakeApi, understudy: Cli, tmp_path: Path, content: bytes | None, error: str
) -> None:
    file = tmp_path / "panel"
    if content is not None:
        file.write_bytes(content)
    result = understudy("people", "import", str(file))
    assert result.exit_code == 2
    assert error in result.stderr
    assert fake.asked == []


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (b"\xef\xbb\xbfname,age\r\nAda,36\r\n", {"csv": "name,age\r\nAda,36\r\n"}),
        (b'{"people": [{"name": "Ada"}]}', {"people": [{"name": "Ada"}]}),
        (b'\xef\xbb\xbf [{"name": "Ada"}]', {"people": [{"name": "Ada"}]}),
    ],
)
def test_people_import_sends_a_table_or_json(
    fake: FakeApi, understudy: Cli, tmp_path: Path, content: bytes, body: dict[str, Any]
) -> None:
    fake.give("/v1/people", {"items": [PERSON]}, status=201)
    file = tmp_path / "panel"
    file.write_bytes(content)
    assert "Ana" in understudy("people", "import", str(file)).stdout
    assert fake.bodies == [body]


def test_plain_text_has_no_control_characters() -> None:
    assert plain("a\x1b]0;title\x07b\nc\u202ed\ud800").plain == "a ]0;title b c d?"


def test_options_and_variables_override_the_files_of_the_data_folder(
    fake: FakeApi, understudy: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.give("/v1/people", {"items": [], "next_cursor": None})
    (tmp_path / "server").write_text("http://127.0.0.1:1")
    unreachable = understudy("people", "list")
    assert unreachable.exit_code == 5
    error = "[service_unavailable] cannot reach an Understudy server at http://127.0.0.1:1"
    assert unreachable.stderr.startswith(error)
    assert "understudy up" in unreachable.stderr
    assert understudy("people", "list", "--server", fake.url).exit_code == 0
    monkeypatch.setenv("UNDERSTUDY_SERVER", fake.url)
    assert understudy("people", "list").exit_code == 0
    (tmp_path / "token").unlink()
    result = understudy("people", "list")
    assert result.exit_code == 3
    assert "understudy token create" in result.stderr
    assert understudy("people", "list", "--token", "t").exit_code == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "token").write_text("t")
    assert understudy("people", "list", "--data-dir", str(other)).exit_code == 0


def test_get_journey_shows_its_curve_and_friction_points(fake: FakeApi, understudy: Cli) -> None:
    moods = [0.9, 0.1, -1.0]
    place = {"url": "https://shop.example/cart", "title": "Cart"}
    step = example(JourneyStep, thought="Hm [2J.", did="press · Buy", **place)
    drop = {"index": 2, "kind": "mood_drop", "what": "The mood fell from +0.1 to -1.0.", "thought": "No."}
    journey = example(
        Journey,
        person_name="Ana Ruiz",
        status="completed",
        outcome="gave_up",
        steps=[step | {"index": index, "sentiment": mood} for index, mood in enumerate(moods)],
        told=[{"before_index": 2, "instruction": "Switch to German."}],
        sentiment_curve=moods,
        friction_points=[drop | {"url": place["url"]}],
        gave_up_at=place | {"index": 2, "thought": "No."},
    )
    fake.give("/v1/participants/t-1f3/journey", journey, journey | {"steps": []})
    shown = understudy("get", "t-1f3", "--view", "journey").stdout
    parts = ("Ana Ruiz", "█▅▁", "Hm [2J.", "Switch to German.", "mood_drop", "Gave up at Cart")
    assert not missing(shown, *parts)
    assert "No interactions yet" in understudy("get", "t-1f3", "--view", "journey").stdout
