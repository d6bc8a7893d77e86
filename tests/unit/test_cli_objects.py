"""The command line: get and people, and whom it talks to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.fake_api import NEXT, OVER, PARTICIPANT, PERSON, STUDY, T1, T2, TOO_LATE, FakeApi, interaction, summary
from understudy.cli.render import plain

Cli = Callable[..., Result]


def test_a_participant_comes_with_its_whole_journey(fake: FakeApi, understudy: Cli) -> None:
    path = "/v1/participants/t-1f3"
    fake.give(path, PARTICIPANT)
    first = {"items": [interaction(0, T2, "Where am I?")], "next_cursor": "c2"}
    second = {"items": [interaction(1, T1, "[b]Ah\x1b[2J[/b]")], "next_cursor": None}
    fake.give(f"/v1/participants/{T1}/interactions", first, second)
    result = understudy("get", "t-1f3")
    shown = result.stdout
    assert "Ana Ruiz" in shown
    assert "gave_up" in shown
    assert shown.index("Where am I?") < shown.index("instructed") < shown.index("[b]Ah [2J[/b]")
    # Where the last step led to.
    assert shown.rindex("http://shop/x") > shown.index("[b]Ah")
    assert "\x1b" not in shown
    assert [asked.query for asked in fake.asked[1:]] == ["limit=500", "limit=500&cursor=c2"]


def test_participants_are_listed_by_their_status(fake: FakeApi, understudy: Cli) -> None:
    stuck = PARTICIPANT | {"status": "running", "likely_stuck": True, "stuck_reason": "Nobody is [b]there."}
    fake.give("/v1/participants", {"items": [stuck], "next_cursor": "c2"})
    shown = understudy("get", "s-b2c", "--status", "running", "--limit", "1").stdout
    assert "running stuck?" in shown
    assert "understudy get s-b2c --status running --limit 1 --cursor c2" in shown
    understudy("get", "i-c3d", "--status", "failed")
    understudy("get", "--status", "failed")
    assert [asked.query for asked in fake.asked] == [
        "study_id=s-b2c&status=running&limit=1",
        "iteration_id=i-c3d&status=failed",
        "status=failed",
    ]
    for wrong in (["t-1f3", "--status", "failed"], ["s-b2c", "--status", "failed", "--view", "full"]):
        assert understudy("get", *wrong).exit_code == 2
    fake.give("/v1/participants/t-1f3", stuck)
    fake.give(f"/v1/participants/{T1}/interactions", {"items": [], "next_cursor": None})
    assert "Nobody is [b]there." in understudy("get", "t-1f3").stdout


def test_views_of_a_study_come_in_pages(fake: FakeApi, understudy: Cli) -> None:
    path = "/v1/studies/s-b2c"
    felt = {"highlight": "What a lamp!", "highlight_index": 1, "highlight_sentiment": 0.9}
    fake.give(path, summary(completed=2) | {"participants": [PARTICIPANT | felt], "next_cursor": "c2"})
    shown = understudy("get", "s-b2c", "--view", "per_participant", "--limit", "1").stdout
    assert "What a lamp!" in shown
    assert "understudy get s-b2c --view per_participant --limit 1 --cursor c2" in shown
    said = {"participant_id": T1, "alias": "t-1f3", "person_name": "Ana Ruiz", "status": "completed"}
    items = [{"role": "person", "content": "I see\x1b[2J lamps.", "index": 0}]
    transcript = said | {"outcome": None, "items": items}
    fake.answers.clear()
    fake.give(path, summary(completed=1) | {"transcripts": [transcript], "next_cursor": None})
    shown = understudy("get", "s-b2c", "--view", "transcripts", "--cursor", "c2").stdout
    assert "Ana Ruiz" in shown
    assert "I see [2J lamps." in shown
    assert [asked.query for asked in fake.asked] == [
        "view=per_participant&limit=1",
        "view=transcripts&cursor=c2",
    ]


def test_why_somebody_failed_is_told_or_where_it_is(fake: FakeApi, understudy: Cli) -> None:
    failed = PARTICIPANT | {"status": "failed", "error_kind": "simulator_error", "error_message": "No [b]."}
    fake.give("/v1/studies/s-b2c", STUDY, summary(failed=1))
    fake.give("/v1/participants", {"items": [PARTICIPANT, failed], "next_cursor": None})
    assert "t-1f3 failed: No [b]." in understudy("get", "s-b2c").stdout
    (state,) = OVER["participants"]
    ended = state | {"status": "failed", "outcome": None, "error_kind": "simulator_error"}
    fake.give("/v1/simulations/wait", OVER | {"participants": [ended]})
    assert "Why t-1f3 failed: understudy get t-1f3" in understudy("wait", "t-1f3").stdout


def test_a_study_is_shown_with_counts_and_participants(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/studies/s-b2c", STUDY, summary(completed=1))
    fake.give("/v1/participants", {"items": [PARTICIPANT], "next_cursor": "more"})
    shown = understudy("get", "s-b2c").stdout
    for part in (
        "Buy a lamp",
        "address contains '/thanks'",
        "1 completed",
        "i-c3d",
        "t-1f3",
        "2/20",
        "and more",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (f"/v1/participants/{T1}", PARTICIPANT),
        (f"/v1/studies/{T1}", STUDY),
        (f"/v1/people/{T1}", PERSON),
    ],
)
def test_a_uuid_is_tried_as_each_kind(fake: FakeApi, understudy: Cli, path: str, answer: Any) -> None:
    fake.give(path, answer)
    assert json.loads(understudy("get", T1, "--json").stdout) == answer


def test_a_uuid_of_nothing_is_not_found(fake: FakeApi, understudy: Cli) -> None:
    result = understudy("get", T1, "--json")
    assert (result.stdout, result.exit_code) == ("", 4)
    assert json.loads(result.stderr)["error_code"] == "not_found"


def test_long_lists_are_cut_but_not_what_went_wrong(fake: FakeApi, understudy: Cli) -> None:
    ids = [f"1f3a0000-0000-4000-8000-{number:012}" for number in range(300)]
    items = [{"participant_id": id_, "success": True, "status": "cancelled"} for id_ in ids]
    items[-1] |= {"success": False, "status": "[service_unavailable] Away."}
    counts = {"total": 300, "cancelled_count": 299, "skipped_count": 0, "failed_count": 1}
    fake.give("/v1/simulations/cancel", {"cancelled": items, "skipped": [], "summary": counts})
    result = understudy("cancel", "--study", "s-b2c")
    assert "[service_unavailable] Away." in result.stdout
    assert "… and 280 more" in result.stdout
    assert "299 cancelled, 0 skipped, 1 could not be cancelled" in result.stdout
    assert result.exit_code == 5


def test_commands_to_copy_are_not_broken_into_lines(fake: FakeApi, understudy: Cli) -> None:
    long = {**NEXT, "cli": "understudy wait " + " ".join(f"t-{number:03}" for number in range(100))}
    fake.give("/v1/simulations/wait", {**TOO_LATE, "next_action": long}, status=202)
    assert f"Next: {long['cli']}\n" in understudy("wait", "t-1f3").stdout


def test_views_of_a_participant(fake: FakeApi, understudy: Cli) -> None:
    transcript = {"items": [{"role": "user", "content": "Switch to German."}]}
    page = {"items": [interaction(1, T1, "Ah.")], "next_cursor": None}
    fake.give("/v1/participants/t-1f3/transcript", transcript)
    fake.give("/v1/participants/t-1f3/interactions", page)
    assert "Switch to German." in understudy("get", "t-1f3", "--view", "transcript").stdout
    args = ("get", "t-1f3", "--view", "interactions", "--own", "--limit", "9", "--json")
    assert json.loads(understudy(*args).stdout) == page
    assert fake.asked[-1].query == "own=true&limit=9"


def test_what_people_are_called_is_shown_as_text(fake: FakeApi, understudy: Cli) -> None:
    fake.give("/v1/people", {"items": [PERSON], "next_cursor": "c2"})
    shown = understudy("people", "list").stdout
    assert "Ana  [31m[bold]Ruiz" in shown
    assert "Next page: understudy people list --cursor c2" in shown
    fake.give("/v1/people/tp-1f3", PERSON)
    assert "patience 0.2, accessibility low_vision" in understudy("people", "show", "tp-1f3").stdout


def test_people_are_added_by_options_or_from_a_file(fake: FakeApi, understudy: Cli, tmp_path: Path) -> None:
    fake.give("/v1/people", PERSON, {"items": [PERSON]}, {"items": [PERSON]}, PERSON, status=201)
    ana = {"name": "Ana", "age": 41, "country": "ES", "language": "es"}
    options = [part for field, value in ana.items() for part in (f"--{field}", str(value))]
    result = understudy("people", "add", *options, "--trait", "patience=0.2", "--trait", "device=phone")
    assert result.exit_code == 0
    assert fake.bodies[-1] == {**ana, "traits": {"patience": 0.2, "device": "phone"}}
    file = tmp_path / "people.json"
    for content in ([ana], {"people": [ana]}):
        file.write_text(json.dumps(content))
        assert understudy("people", "add", str(file)).exit_code == 0
        assert fake.bodies[-1] == {"people": [ana]}
    assert understudy("people", "add", "-", stdin=json.dumps(ana)).exit_code == 0
    assert fake.bodies[-1] == ana
    for wrong in ("{", "3", '"Ana"', "[" * 100_000):
        assert understudy("people", "add", "-", stdin=wrong).exit_code == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name,age\nAda,36\nB\0o,41\n", "line 3: NUL character; remove it. No people were imported."),
        ("name;age\nZoë;36".encode("latin-1"), "is not UTF-8 text; save it as UTF-8"),
        ("name;age\nZoë;36".encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
        (b'\xef\xbb\xbf{"people": [', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (None, "cannot be read: No such file or directory"),
    ],
    ids=["NUL", "Latin-1", "UTF-16", "half of it", "too deep", "missing"],
)
def test_a_panel_that_cannot_be_read_is_not_sent(
    fake: FakeApi, understudy: Cli, tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "panel"
    if content is not None:
        file.write_bytes(content)
    result = understudy("people", "import", str(file))
    assert result.exit_code == 2
    assert told in result.stderr
    assert fake.asked == []


def test_a_panel_is_sent_as_it_is(fake: FakeApi, understudy: Cli, tmp_path: Path) -> None:
    fake.give("/v1/people", *[{"items": [PERSON]}] * 3, status=201)
    file = tmp_path / "panel"
    for content, body in (
        (b"\xef\xbb\xbfname,age\r\nAda,36\r\n", {"csv": "\ufeffname,age\nAda,36\n"}),
        (b'{"people": [{"name": "Ada"}]}', {"people": [{"name": "Ada"}]}),
        (b'\xef\xbb\xbf [{"name": "Ada"}]', {"people": [{"name": "Ada"}]}),
    ):
        file.write_bytes(content)
        assert "Ana" in understudy("people", "import", str(file)).stdout
        assert fake.bodies[-1] == body


def test_plain_text_obeys_nobody() -> None:
    assert plain("a\x1b]0;title\x07b\nc\u202ed\ud800").plain == "a ]0;title b c d?"


def test_options_and_variables_go_before_the_data_folder(
    fake: FakeApi, understudy: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.give("/v1/people", {"items": [], "next_cursor": None})
    (tmp_path / "server").write_text("http://127.0.0.1:1")
    assert understudy("people", "list").exit_code == 5
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


def test_nobody_there_says_how_to_start_one(fake: FakeApi, understudy: Cli) -> None:
    result = understudy("people", "list", "--server", "http://127.0.0.1:1")
    assert result.exit_code == 5
    assert result.stderr.startswith("[service_unavailable] cannot reach an Understudy server at http://127.0.0.1:1")
    assert "understudy up" in result.stderr


def test_where_a_journey_was_hard_is_shown_with_its_curve(fake: FakeApi, understudy: Cli) -> None:
    moods = [0.9, 0.1, -1.0]
    place = {"url": "https://shop.example/cart", "title": "Cart"}
    steps = [
        {"index": index, "participant_id": T1, "thought": "Hm [2J.", "did": "press · Buy", "sentiment": mood} | place
        for index, mood in enumerate(moods)
    ]
    point = {"index": 2, "kind": "mood_drop", "what": "The mood fell from +0.1 to -1.0.", "thought": "No."}
    journey = {
        "participant_id": T1,
        "alias": "t-1f3",
        "person_name": "Ana Ruiz",
        "status": "completed",
        "outcome": "gave_up",
        "task": "Buy a lamp",
        "steps": steps,
        "told": [{"before_index": 2, "instruction": "Switch to German."}],
        "sentiment_curve": moods,
        "friction_points": [point | {"url": place["url"]}],
        "gave_up_at": place | {"index": 2, "thought": "No."},
    }
    fake.give("/v1/participants/t-1f3/journey", journey, journey, journey | {"steps": []})
    shown = understudy("get", "t-1f3", "--view", "journey").stdout
    for part in ("Ana Ruiz", "█▅▁", "Hm [2J.", "Switch to German.", "mood_drop", "Gave up at Cart"):
        assert part in shown
    assert json.loads(understudy("get", "t-1f3", "--view", "journey", "--json").stdout) == journey
    assert "No interactions yet" in understudy("get", "t-1f3", "--view", "journey").stdout
