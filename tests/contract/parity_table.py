"""The one table of inputs, valid and invalid, for every tool. test_parity sends each row to every interface."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from tests.contract.manual_worker import run_to_end
from tests.factories import make_ask, make_participants, make_study
from understudy.store.engine import Store

WEB = {"environment": "web", "url": "https://shop.example/"}
TASK = {"task": "Buy a lamp", "success": {"url_contains": "/thanks"}}
ADA = {"name": "Ada", "age": 36, "country": "GB", "language": "en"}
MANY_TRAITS = {f"trait {number}": number for number in range(101)}
#: Just above 64 KiB as UTF-8, with fewer characters.
LARGE_TRAITS = {"story": "é" * 32_768}
MANY_TRAITS_CSV = "\n".join(
    (
        "name,age,country,language," + ",".join(f"trait.{name}" for name in MANY_TRAITS),
        "Bea,61,DE,de," + ",".join(map(str, MANY_TRAITS.values())),
    )
)
LARGE_TRAITS_CSV = f"name,age,country,language,trait.story\nBea,61,DE,de,{LARGE_TRAITS['story']}"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
VARIANTS = ["Fast and simple.", "Simple and fast."]
LAMPS = {"name": "Lamps", "modality": "interactive", "assignment": TASK}

BAD, NOT_FOUND, CONFLICT, TIMEOUT = "validation_error", "not_found", "conflict", "wait_timeout"

Json = dict[str, Any]


class Row(NamedTuple):
    """A call of a tool. The argument `<name>` is the id of that object in an interface's workspace."""

    tool: str
    arguments: Json
    #: Error code of the result; None without an error.
    code: str | None = None
    #: A part of the error message.
    says: str = ""
    #: Arguments of a call that comes first.
    first: Json | None = None
    #: Interfaces whose error message differs from that of REST.
    own_words: tuple[str, ...] = ()
    #: Interfaces that accept this input, or whose types exclude it.
    skip: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.tool} {json.dumps(self.arguments)}"[:100]


def bad(
    tool: str, arguments: Json, says: str, *, code: str = BAD, first: Json | None = None, own: str = "", skip: str = ""
) -> Row:
    return Row(tool, arguments, code, says, first, tuple(own.split()), tuple(skip.split()))


_SETTINGS = {"max_interactions": 5, "mind": "heuristic", "step_timeout": 9.5, "run_timeout": 9.5}
_WAIT = {"wait": False, "timeout": 600.0}
#: A call of each tool that writes or waits, with all arguments that exclude no others.
COMPLETE: dict[str, Json] = {
    "study_create": LAMPS
    | {
        "assignment": {
            "task": "Buy",
            "success": {
                "url_contains": "a",
                "text_contains": "b",
                "url_matches": "a+",
                "text_absent": "c",
                "element": {"role": "link", "name": "d"},
            },
        },
        "questions": ["Easy?"],
        "iteration": {"content": WEB} | _SETTINGS,
    },
    "study_add_iteration": {"study_id": "<bare>", "content": WEB} | _SETTINGS,
    "person_create": ADA | {"traits": {"patience": 0.25}, "bio": "Zählt 🐈"},
    "study_run": {"study_id": "<study>", "iteration_id": "<third>", "sample": 1, "max_interactions": 5, "seed": 1}
    | _WAIT,
    "ask_run": {"question": "Which?", "variants": VARIANTS, "sample": 1, "seed": 1} | _SETTINGS | _WAIT,
    "ask_round": {"ask_id": "<ask>", "question": "And now?", "variants": VARIANTS, "seed": 1} | _WAIT,
    "simulation_cancel": {"participant_id": "<done>"},
    "simulation_extend": {"participant_id": "<done>", "additional_steps": 5, "instruction": "Go on."} | _WAIT,
    "simulation_wait": {"participant_ids": ["<done>"], "timeout": 600.0},
}

_RUN = {"study_id": "<study>", "sample": 1, "seed": 1}
GOOD = [
    *(Row(tool, arguments) for tool, arguments in COMPLETE.items()),
    Row("study_create", LAMPS),
    Row(
        "study_create",
        LAMPS | {"modality": "text", "iteration": {"content": {"environment": "text", "variants": ["A"]}}},
    ),
    Row("study_run", {"study_id": "<study>", "sample": 2, "seed": 7}),
    Row("study_run", {"study_id": "<study>", "person_ids": ["<ada>", "<cleo>"]}),
    Row("study_run", _RUN | {"where": {"age_min": 1, "trait": ["patience"]}}),
    Row("study_run", _RUN | {"wait": True, "timeout": 0.05}, TIMEOUT),
    Row("study_run", _RUN | {"idempotency_key": "k1"}, first=_RUN | {"idempotency_key": "k1"}),
    Row("study_get", {"limit": 2}),
    *(Row("study_get", {"study_id": "<study>", "view": view}) for view in ("summary", "full")),
    *(
        Row("study_get", {"study_id": "<study>", "view": view, "limit": 6})
        for view in ("per_participant", "transcripts")
    ),
    Row("ask_run", {"question": "Which?", "variants": VARIANTS, "sample": 1, "seed": 3}),
    Row("ask_round", {"ask_id": "<ask>"}),
    Row("ask_get", {"limit": 1}),
    *(Row("ask_get", {"ask_id": "<full_ask>", "view": view}) for view in ("summary", "full", "per_participant")),
    Row("person_create", {"people": [ADA, ADA | {"name": "Bea"}]}),
    Row("person_create", {"generate": 2, "seed": 5}),
    Row("person_create", {"csv": "name,age,country,language\nBea,61,DE,de"}),
    Row("person_create", {"panel": "varied-50"}),
    Row(
        "person_get",
        {"age_min": 20, "age_max": 90, "country": ["GB", "DE", "SE", "MA"], "search": "a", "limit": 3}
        | {"trait": ["patience>0.1", "curiosity"]},
    ),
    Row("person_get", {"person_id": "<ada>"}),
    Row("person_get", {"limit": 3}),
    *(
        Row("participant_get", {"participant_id": f"<{name}>"})
        for name in ("done", "failed", "cancelled", "running", "draft", "child")
    ),
    *(
        Row("participant_get", {"participant_id": "<child>", "view": view})
        for view in ("interactions", "transcript", "journey")
    ),
    *(
        Row("participant_get", {"participant_id": "<child>", "view": "interactions"} | page)
        for page in ({"limit": 1}, {"own": True})
    ),
    Row("participant_get", {"study_id": "<study>", "limit": 3}),
    Row("participant_get", {"iteration_id": "<second>", "limit": 2}),
    Row("participant_get", {"ask_id": "<full_ask>", "round": 2}),
    Row("participant_get", {"status": "completed"}),
    Row("participant_get", {"iteration_id": "<first>", "status": "pending"}),
    Row("participant_get", {"ask_id": "<full_ask>", "status": "pending"}),
    *(Row("simulation_cancel", {"participant_id": f"<{name}>"}) for name in ("pending", "done", "draft")),
    Row("simulation_cancel", {"participant_id": "<done>", "study_id": None}),
    Row("simulation_cancel", {"iteration_id": "<second>"}),
    Row("simulation_cancel", {"study_id": "<bare>"}),
    Row("simulation_cancel", {"ask_id": "<round_ask>", "round": 2}),
    Row("simulation_cancel", {"ask_id": "<round_ask>"}),
    Row("simulation_extend", {"participant_id": "<done>"}),
    Row(
        "simulation_extend",
        {"participant_id": "<cancelled>", "additional_steps": 3, "instruction": "  Switch to German.  "},
    ),
    Row("simulation_extend", {"participant_id": "<failed>", "wait": True, "timeout": 0.05}, TIMEOUT),
    Row("simulation_wait", {"participant_ids": ["<done>", "<failed>"]}),
    Row("simulation_wait", {"participant_ids": ["<running>", "<done>"], "timeout": 0.05}, TIMEOUT),
    Row("docs_get", {}),
    Row("docs_get", {"slug": "concepts/overview"}),
]

_URLS = [
    *("", "shop.example", "/relative", "ftp://shop.example", "javascript:alert(1)", "file:///etc/passwd"),
    *("http://", "https://:80", "http://a b", "http://a\tb", "http://shop.example:99999", "http://[::1"),
    *("http://shop.example:0", "http://shop.example:x", "//shop.example", 7, None, [], {}),
    *(
        "https://ada:pw@shop.example/",
        "https://ada@shop.example",
        "https://:pw@shop.example",
        "http://a\\@shop.example",
    ),
    "https://shop.example/" + "a" * 2_000,
]
_CONTENTS: list[Any] = [
    *({"environment": name, "url": "https://shop.example"} for name in ("nope", "", None, 7, [], {})),
    *({"environment": "x" * 500_000}, {"environment": "text"}, {"environment": "text", "variants": ["A"]}),
    *({}, {"url": "https://shop.example"}, {"environment": "web"}, WEB | {"surplus": 1}, [], "web"),
    *(WEB | {"url": url} for url in _URLS),
]
_TEXTS = {"environment": "text", "variants": ["A"]}
_TEXT_CONTENTS = [
    *({"environment": "text"}, _TEXTS | {"variants": "A"}, _TEXTS | {"variants": ["A", ""]}),
    *(_TEXTS | {"variants": ["x"] * 11}, _TEXTS | {"url": "https://shop.example/"}),
]
#: No id of a participant, a person or an iteration.
_IDS = ["w-abc", "s-abc", "x", "t-", "T-ABC", "t-abg", "../t-abc", "t-abc ", "t-" + "a" * 33, "a" * 101]
_DONE = {"participant_id": "<done>"}
_STUDY, _ASK = {"study_id": "<study>"}, {"ask_id": "<ask>"}
_BARE = {"study_id": "<bare>", "content": WEB}
_MUGS = {"question": "Which?", "variants": VARIANTS, "sample": 1}
WRONG = [
    # -- studies
    bad("study_create", {}, "name"),
    bad("study_create", {"name": "Lamps"}, "assignment"),
    bad("study_create", LAMPS | {"surplus": 1}, "surplus"),
    bad("study_create", LAMPS | {"modality": "telepathic"}, "modality"),
    bad("study_create", LAMPS | {"name": ""}, "name"),
    bad("study_create", LAMPS | {"name": "a\0b"}, "NUL"),
    bad("study_create", LAMPS | {"assignment": {"task": ""}}, "assignment.task"),
    *(
        bad("study_create", LAMPS | {"assignment": {"task": "x", "success": success}}, says)
        for says, success in {
            "success": {},
            "text_absent cannot stand alone": {"text_absent": "Sorry"},
            "text_contains is blank": {"text_contains": " \n"},
            "element.name is blank": {"element": {"role": "link", "name": " "}},
            "element.role": {"element": {"role": "dialog", "name": "Sure?"}},
            "element.name": {"element": {"role": "link"}},
            "missing )": {"url_matches": "(a"},
            "is not a pattern of RE2": {"url_matches": "(?=a)"},
            "too large": {"url_matches": r"\pL{900}\pL{900}"},
        }.items()
    ),
    bad("study_create", LAMPS | {"modality": "chat", "iteration": {"content": WEB}}, "chat"),
    bad("study_create", LAMPS | {"iteration": {"content": WEB | {"url": "ftp://x"}}}, "url"),
    bad("study_create", LAMPS | {"iteration": {"content": _TEXTS}}, "content"),
    *(
        bad("study_create", LAMPS | {"modality": "text", "iteration": {"content": content}}, "content")
        for content in _TEXT_CONTENTS
    ),
    *(bad("study_add_iteration", _BARE | {"content": content}, "content") for content in _CONTENTS),
    bad("study_add_iteration", _BARE | {"content": None}, "content", own="client"),
    bad("study_add_iteration", {"study_id": "<chat>", "content": WEB}, "chat"),
    bad("study_add_iteration", {"study_id": UNKNOWN, "content": WEB}, "no study", code=NOT_FOUND),
    bad("study_add_iteration", _BARE | {"mind": "nope"}, "There is no mind 'nope'"),
    *(bad("study_add_iteration", _BARE | {"max_interactions": n}, "max_interactions") for n in (0, 1_001)),
    *(bad("study_add_iteration", _BARE | {"step_timeout": n}, "step_timeout") for n in (0, -1, 3_601)),
    *(bad("study_add_iteration", _BARE | {"run_timeout": n}, "run_timeout") for n in (0, -1, 86_401)),
    bad("study_run", _STUDY, "exactly one of person_ids and sample"),
    bad("study_run", _STUDY | {"sample": 1, "person_ids": ["<ada>"]}, "exactly one of person_ids and sample"),
    bad("study_run", _STUDY | {"person_ids": []}, "person_ids"),
    bad("study_run", _STUDY | {"person_ids": ["<ada>", "<ada>"]}, "twice"),
    bad("study_run", _STUDY | {"person_ids": ["<ada>", UNKNOWN]}, "no person", code=NOT_FOUND),
    bad("study_run", _STUDY | {"person_ids": ["tp-00000"]}, "no person", code=NOT_FOUND),
    *(bad("study_run", _STUDY | {"sample": sample}, "sample") for sample in ("2", True, 7.0, 0, -1)),
    bad("study_run", _STUDY | {"sample": 9_000}, "people"),
    bad("study_run", _STUDY | {"sample": 10_001}, "10,000"),
    bad("study_run", _STUDY | {"sample": 1, "where": {"country": ["Atlantis"]}}, "people"),
    *(bad("study_run", _RUN | {"max_interactions": n}, "max_interactions") for n in (0, -1, 1_001)),
    *(bad("study_run", _RUN | {"iteration_id": id_}, "iteration_id") for id_ in _IDS),
    *(bad("study_run", _STUDY | {"person_ids": [id_]}, "person_ids") for id_ in _IDS),
    bad("study_run", _RUN | {"study_id": "<chat>"}, "no iteration"),
    bad("study_run", _RUN | {"study_id": "<chat>", "iteration_id": "<first>"}, "no iteration", code=NOT_FOUND),
    bad("study_run", _RUN | {"study_id": UNKNOWN}, "no study", code=NOT_FOUND),
    bad("study_run", _RUN | {"study_id": "t-abc"}, "study_id", own="client"),
    *(bad("study_run", _RUN | {"wait": True, "timeout": seconds}, "timeout") for seconds in (0, -1, 3_600.1, 1e6)),
    bad("study_run", _RUN | {"wait": "yes"}, "wait", skip="client"),
    *(bad("study_run", _RUN | {"idempotency_key": key}, "Key: ", own="client mcp") for key in ("", "k" * 256)),
    bad(
        "study_run",
        _RUN | {"sample": 2, "idempotency_key": "k2"},
        "used for another request",
        code=CONFLICT,
        first=_RUN | {"idempotency_key": "k2"},
    ),
    *(
        bad("study_get", {"study_id": id_, "view": "summary"}, "", code=code, own="cli")
        for id_, code in (
            *((UNKNOWN, NOT_FOUND), ("s-00000", NOT_FOUND), ("<stranger_study>", NOT_FOUND)),
            *(("t-abc", BAD), ("S-ABC", BAD)),
        )
    ),
    *(bad("study_get", _STUDY | {"view": view}, "view", own="cli", skip="client") for view in ("summary ", "", "x")),
    *(bad("study_get", _STUDY | {"view": view, "limit": 5}, "limit", skip="cli") for view in ("summary", "full")),
    bad("study_get", {"view": "full"}, "view", own="mcp"),
    bad("study_get", {"limit": 501}, "500"),
    bad("study_get", {"limit": 0}, "limit", own="cli"),
    bad("study_get", {"cursor": "next"}, "cursor"),
    # -- asks
    bad("ask_run", {"question": "Which?", "variants": VARIANTS}, "exactly one of person_ids and sample", skip="cli"),
    *(
        bad("ask_run", _MUGS | {"variants": variants}, "variants", own="cli", skip=skip)
        for variants, skip in (([], ""), (["x"] * 11, ""), (["x" * 20_001], ""), ([" "], ""), ([{"text": "B"}], "cli"))
    ),
    bad("ask_run", _MUGS | {"variants": ["A", " \n "]}, "more than white space"),
    bad("ask_run", _MUGS | {"question": ""}, "question"),
    bad("ask_run", _MUGS | {"person_ids": ["<ada>"]}, "exactly one of person_ids and sample"),
    bad("ask_run", _MUGS | {"sample": 9_000}, "people"),
    bad("ask_run", _MUGS | {"sample": 10_001}, "10,000"),
    bad("ask_run", _MUGS | {"mind": "nobody"}, "There is no mind 'nobody'"),
    bad("ask_run", _MUGS | {"max_interactions": 1_001}, "max_interactions"),
    bad("ask_run", _MUGS | {"wait": True, "timeout": 3_601}, "3600"),
    *(
        bad("ask_run", {"question": "Which?", "variants": ["A"], "person_ids": ids}, says, code=code)
        for ids, says, code in (
            *((["<ada>", "<ada>"], "twice", BAD), ([UNKNOWN], "no person", NOT_FOUND)),
            *(([id_], "person_ids", BAD) for id_ in _IDS),
        )
    ),
    bad("ask_round", {"ask_id": "<full_ask>"}, "5 rounds"),
    *(bad("ask_round", {"ask_id": id_}, "no ask", code=NOT_FOUND) for id_ in (UNKNOWN, "a-00000")),
    bad("ask_round", {"ask_id": "s-abc"}, "ask_id", own="cli client"),
    bad("ask_round", _ASK | {"variants": []}, "variants", skip="cli"),
    bad("ask_round", _ASK | {"variants": [""]}, "variants"),
    bad("ask_round", _ASK | {"question": ""}, "question"),
    bad("ask_round", _ASK | {"sample": 1}, "sample", own="cli"),
    bad("ask_round", _ASK | {"wait": "yes"}, "wait", skip="cli client"),
    bad("ask_get", {"ask_id": "a-00000"}, "no ask", code=NOT_FOUND),
    bad("ask_get", _ASK | {"view": "transcripts"}, "view", skip="cli client"),
    bad("ask_get", _ASK | {"limit": 5}, "limit", skip="cli"),
    bad("ask_get", {"view": "full"}, "view", own="mcp"),
    bad("ask_get", {"limit": 0}, "limit"),
    # -- people
    bad("person_create", {}, "name", own="cli"),
    *(bad("person_create", ADA | {"age": age}, "age") for age in (-1, 131)),
    bad("person_create", ADA | {"age": "36"}, "age", skip="cli"),
    bad("person_create", ADA | {"bio": "a\0b"}, "NUL"),
    bad("person_create", ADA | {"traits": MANY_TRAITS}, "at most 100"),
    bad("person_create", ADA | {"traits": LARGE_TRAITS}, "at most 64 KiB"),
    bad("person_create", {"people": [ADA, ADA | {"traits": MANY_TRAITS}]}, "at most 100"),
    bad("person_create", {"people": [ADA, ADA | {"traits": LARGE_TRAITS}]}, "at most 64 KiB"),
    bad("person_create", {"csv": MANY_TRAITS_CSV}, "at most 100"),
    bad("person_create", {"csv": LARGE_TRAITS_CSV}, "at most 64 KiB"),
    bad("person_create", ADA | {"generate": 1}, "name"),
    bad("person_create", {"people": [ADA], **ADA}, "name"),
    bad("person_create", {"people": [ADA], "generate": 1}, "generate"),
    bad("person_create", {"people": [ADA], "surplus": 1}, "surplus"),
    bad("person_create", {"generate": 1, "surplus": 1}, "surplus"),
    *(bad("person_create", {"generate": n}, "generate", own="cli" if n < 1 else "") for n in (0, -1, 10_001)),
    bad("person_create", {"people": []}, "people"),
    *(
        bad("person_create", {"people": [ADA, wrong]}, says)
        for wrong, says in (
            *((ADA | {"age": "36"}, "people.1.age"), (ADA | {"age": 131}, "people.1.age")),
            *(({"name": "Bea"}, "people.1.age"), (ADA | {"surplus": 1}, "surplus")),
        )
    ),
    bad("person_create", {"csv": "name,age,country,language\nBea,61,DE,de\nCem,x,TR,tr"}, "line 3"),
    bad("person_create", {"panel": "varied"}, "panel"),
    bad("person_get", {"trait": ["patience<low"]}, "trait"),
    bad("person_get", {"limit": 0}, "limit", own="cli"),
    bad("person_get", {"person_id": UNKNOWN}, "no person", code=NOT_FOUND),
    bad("person_get", {"person_id": "s-abc"}, "person_id"),
    bad("person_get", {"person_id": "<ada>", "cursor": "x"}, "cursor", own="mcp"),
    # -- participants
    *(
        bad("participant_get", {"participant_id": "t-00000"} | view, "no participant", code=NOT_FOUND)
        for view in ({}, {"view": "interactions"}, {"view": "transcript"}, {"view": "journey"})
    ),
    bad("participant_get", {"view": "transcript"}, "participant_id", own="mcp"),
    bad("participant_get", _DONE | {"view": "everything"}, "view", own="cli mcp", skip="client"),
    bad("participant_get", _DONE | _STUDY, "study_id", own="mcp"),
    bad("participant_get", _DONE | {"view": "transcript", "limit": 5}, "limit", own="mcp", skip="cli"),
    *(
        bad("participant_get", {"status": status}, "status", own="cli")
        for status in ("", "Pending", "nope", "pending,running")
    ),
    bad("participant_get", _STUDY | _ASK, "study_id and ask_id"),
    bad("participant_get", _STUDY | {"iteration_id": "<first>"}, "study_id and iteration_id"),
    bad("participant_get", {"study_id": ""}, "study_id"),
    bad("participant_get", _STUDY | {"surplus": "1"}, "surplus", own="mcp"),
    bad("participant_get", {"round": 1}, "round"),
    bad("participant_get", _ASK | {"round": 0}, "round"),
    bad("participant_get", {"ask_id": "<full_ask>", "round": 6}, "has 5", code=NOT_FOUND),
    bad("participant_get", {"iteration_id": "i-00000"}, "no iteration", code=NOT_FOUND),
    # -- simulations
    *(
        bad("simulation_cancel", scope, says, own="cli")
        for scope, says in (
            *(({}, "exactly one"), ({"study_id": None}, "exactly one"), ({"round": 1}, "")),
            # Refused before the scope is read: nothing is "not found".
            *(({"participant_id": UNKNOWN} | scope, "exactly one") for scope in ({"study_id": UNKNOWN}, _STUDY | _ASK)),
            *(({"study_id": "<bare>", "round": 1}, "round"), ({"participant_id": UNKNOWN, "round": 1}, "round")),
            *((_ASK | {"round": 0}, "round"), ({"ask_id": UNKNOWN, "round": -1}, "round")),
        )
    ),
    *(
        bad("simulation_cancel", {f"{kind}_id": alias}, f"{kind}_id", own="cli")
        for kind, alias in (("study", "i-abc"), ("iteration", "a-abc"), ("ask", "t-abc"))
    ),
    bad("simulation_cancel", {"ask_id": "<full_ask>", "round": 6}, "has 5", code=NOT_FOUND),
    bad("simulation_cancel", {"participant_id": 7}, "participant_id", skip="cli client"),
    bad("simulation_cancel", {"round": 1.0, "surplus": 1}, "surplus"),
    *(
        bad("simulation_cancel", {"participant_id": id_}, "no participant", code=NOT_FOUND)
        for id_ in (UNKNOWN, "<stranger_done>", "t-00000")
    ),
    *(bad("simulation_cancel", {"participant_id": id_}, "participant_id") for id_ in _IDS),
    *(bad("simulation_extend", {"participant_id": f"<{name}>"}, name) for name in ("running", "draft")),
    *(bad("simulation_extend", _DONE | {"additional_steps": n}, "from 1 to 100") for n in (0, -1, 101)),
    bad("simulation_extend", _DONE | {"additional_steps": 2**63 - 1}, "from 1 to 100", own="cli"),
    bad("simulation_extend", _DONE | {"additional_steps": 7.5}, "additional_steps", own="cli"),
    bad("simulation_extend", _DONE | {"instruction": "x" * 4_001}, "4,000"),
    bad("simulation_extend", _DONE | {"instruction": "\0"}, "NUL"),
    bad("simulation_extend", _DONE | {"surplus": 1, "wait": 1}, "surplus"),
    bad("simulation_extend", {}, "participant_id"),
    bad("simulation_extend", {"participant_id": UNKNOWN}, "no participant", code=NOT_FOUND),
    *(bad("simulation_extend", {"participant_id": id_}, "participant_id") for id_ in _IDS),
    bad("simulation_wait", {"participant_ids": []}, "participant_ids", own="cli"),
    bad("simulation_wait", {"participant_ids": "<done>"}, "participant_ids", skip="cli client"),
    bad("simulation_wait", {"participant_ids": ["<stranger_done>"]}, "no participant", code=NOT_FOUND),
    *(bad("simulation_wait", {"participant_ids": ["<done>", id_]}, "participant_id") for id_ in _IDS),
    *(
        bad("simulation_wait", {"participant_ids": ["<done>"], "timeout": seconds}, "timeout", own=own)
        for seconds, own in ((0, "cli"), (-1, "cli"), (1e6, ""))
    ),
    # -- objects of another workspace
    *(
        bad(tool, arguments, "no ", code=NOT_FOUND, own="cli" if tool in {"participant_get", "ask_get"} else "")
        for tool, arguments in (
            ("study_add_iteration", {"study_id": "<stranger_bare>", "content": WEB}),
            ("study_run", {"study_id": "<stranger_study>", "sample": 1}),
            ("person_get", {"person_id": "<stranger_ada>"}),
            ("participant_get", {"participant_id": "<stranger_done>", "view": "transcript"}),
            ("participant_get", {"iteration_id": "<stranger_third>"}),
            *(("simulation_cancel", {f"{kind}_id": f"<stranger_{kind}>"}) for kind in ("study", "ask")),
            *((tool, {"ask_id": "<stranger_ask>"}) for tool in ("ask_get", "ask_round")),
            ("simulation_extend", {"participant_id": "<stranger_done>"}),
        )
    ),
    # -- pages
    bad("docs_get", {"slug": "concepts/nothing"}, "concepts/nothing", code=NOT_FOUND),
    *(bad("docs_get", {"slug": slug}, "slug") for slug in ("Concepts Overview",)),
    bad("docs_get", {"slug": "concepts/overview", "limit": 1}, "limit", own="mcp"),
]


def make_objects(store: Store, workspace_id: UUID) -> dict[str, UUID]:
    """Creates the objects that `COMPLETE` names: a study with an iteration, a terminal participant, an ask."""
    study, (iteration,) = make_study(store, workspace_id)
    (done,) = make_participants(store, workspace_id, study, iteration)
    run_to_end(store, done, 1)
    ask, _ = make_ask(store, workspace_id, rounds=1)
    return {"study": study, "bare": study, "third": iteration, "done": done, "ask": ask}


def filled(value: Any, ids: Mapping[str, object]) -> Any:
    """The same with ids for `<name>`."""
    if isinstance(value, dict):
        return {name: filled(one, ids) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, ids) for one in value]
    name = value.strip("<>") if isinstance(value, str) and value.startswith("<") else ""
    return str(ids[name]) if name in ids else value


def objects_in(value: Any) -> Iterator[Json]:
    """Every JSON object in a request, itself first; not the contents of `traits`, whose fields are free."""
    if isinstance(value, dict):
        yield value
        for name, item in value.items():
            if name != "traits":
                yield from objects_in(item)


def with_one_field(arguments: Json) -> Iterator[tuple[Json, Json, str]]:
    """For each field at any depth: a copy of the arguments, the field's object in the copy, and its name."""
    for number, part in enumerate(objects_in(arguments)):
        for name in part:
            fresh = copy.deepcopy(arguments)
            yield fresh, list(objects_in(fresh))[number], name


_OTHER_TYPES: dict[type, list[Any]] = {
    str: [7, 7.5, True, [], {}, ["a"], "a\0b"],
    int: [7.0, "7", True, [], {}, -1, 2**63],
    float: ["7", True, [], {}, 0, -1, 1e6],
    bool: [0, 1, "true", "false", []],
    list: ["a", {}, 7, {"0": "a"}],
    dict: ["a", [], 7, True],
}
#: Null is the same as leaving these out.
_NULLABLE = {
    *("max_interactions", "iteration_id", "seed", "success", "url_contains", "text_contains"),
    *("url_matches", "text_absent", "element"),
    *("questions", "iteration", "instruction", "question", "variants"),
}
_MAX_LENGTHS = {"name": 200, "country": 64, "mind": 200} | dict.fromkeys(
    ("task", "question", "bio", "instruction"), 4_000
)


def spoiled(tool: str, path_parameters: set[str]) -> Iterator[Json]:
    """The complete arguments of a tool with one field spoiled: its type, its bounds, or a field too many."""
    arguments = COMPLETE[tool]
    for number, _ in enumerate(objects_in(arguments)):
        fresh = copy.deepcopy(arguments)
        list(objects_in(fresh))[number]["surplus"] = 1
        yield fresh
    for fresh, part, name in with_one_field(arguments):
        if name in path_parameters:
            continue
        value = part[name]
        others = _OTHER_TYPES[type(value)] + ([] if name in _NULLABLE else [None])
        if isinstance(value, str):
            others = [*others, "x" * (_MAX_LENGTHS.get(name, 2_000) + 1), "x" * 500_000]
            others += [] if name in {"bio", "instruction"} else [""]
        for other in others:
            part[name] = other
            yield copy.deepcopy(fresh)
