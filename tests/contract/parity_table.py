"""The one table of inputs, good and bad, for every tool: what test_parity asks at each door."""

from typing import Any, NamedTuple

WEB = {"environment": "web", "url": "https://shop.example/"}
TASK = {"task": "Buy a lamp", "success": {"url_contains": "/thanks"}}
ADA = {"name": "Ada", "age": 36, "country": "GB", "language": "en"}
NOBODY = "00000000-0000-4000-8000-000000000000"
VARIANTS = ["Fast and simple.", "Simple and fast."]


class Row(NamedTuple):
    """An input. `<name>` in it is the id of what is called so in a door's workspace."""

    description: str
    tool: str
    arguments: dict[str, Any]
    #: The same on the command line; None where it has no command for it.
    command: tuple[str, ...] | None = None
    #: What it is answered with; None: no error.
    code: str | None = None
    #: A call that comes before it, with these arguments instead.
    first: dict[str, Any] | None = None
    #: The command line has words of its own for it: those of its options.
    own_words: bool = False
    #: Nobody could write it in Python, or says it otherwise there.
    client: bool = True


GOOD = [
    Row("a study", "study_create", {"name": "Lamps", "modality": "interactive", "assignment": TASK}),
    Row(
        "a study with all there is to it",
        "study_create",
        {
            "name": "Lamps",
            "modality": "interactive",
            "assignment": TASK,
            "questions": ["Easy?"],
            "iteration": {"content": WEB, "max_interactions": 7, "step_timeout": 5.5},
        },
    ),
    Row("an iteration", "study_add_iteration", {"study_id": "<bare>", "content": WEB}),
    Row("a run of some", "study_run", {"study_id": "<study>", "sample": 2, "seed": 7}),
    Row("a run of these", "study_run", {"study_id": "<study>", "person_ids": ["<ada>", "<cleo>"]}),
    Row(
        "a run that is not over in time",
        "study_run",
        {"study_id": "<study>", "sample": 1, "seed": 1, "wait": True, "timeout": 0.05},
        code="wait_timeout",
    ),
    Row(
        "a run once, however often",
        "study_run",
        {"study_id": "<study>", "sample": 1, "seed": 1, "idempotency_key": "k1"},
        first={"study_id": "<study>", "sample": 1, "seed": 1, "idempotency_key": "k1"},
    ),
    Row("all studies", "study_get", {"limit": 2}, ("get", "--limit", "2")),
    *(
        Row(
            f"a study's view {view}",
            "study_get",
            {"study_id": "<study>", "view": view},
            ("get", "<study>", "--view", view),
        )
        for view in ("summary", "full")
    ),
    *(
        Row(
            f"a page of a study's {view}",
            "study_get",
            {"study_id": "<study>", "view": view, "limit": 6},
            ("get", "<study>", "--view", view, "--limit", "6"),
        )
        for view in ("per_participant", "transcripts")
    ),
    Row(
        "a new ask",
        "ask_run",
        {"question": "Which?", "variants": VARIANTS, "sample": 1, "seed": 3},
        (
            *("ask", "--question", "Which?", "--variant", VARIANTS[0], "--variant", VARIANTS[1]),
            *("--people", "1", "--seed", "3"),
        ),
    ),
    Row("a next round", "ask_round", {"ask_id": "<ask>"}, ("ask", "--next", "<ask>")),
    Row("all asks", "ask_get", {"limit": 1}),
    *(
        Row(
            f"an ask's view {view}",
            "ask_get",
            {"ask_id": "<full_ask>", "view": view},
            ("get", "<full_ask>", "--view", view),
        )
        for view in ("summary", "full", "per_participant")
    ),
    Row(
        "a person",
        "person_create",
        ADA | {"traits": {"patience": 0.25}, "bio": "Zählt 🐈"},
        (
            *("people", "add", "--name", "Ada", "--age", "36", "--country", "GB", "--language", "en"),
            *("--trait", "patience=0.25", "--bio", "Zählt 🐈"),
        ),
    ),
    Row("several people", "person_create", {"people": [ADA, ADA | {"name": "Bea"}]}),
    Row(
        "a panel made up",
        "person_create",
        {"generate": 2, "seed": 5},
        ("people", "generate", "2", "--seed", "5"),
    ),
    Row("a table of people", "person_create", {"csv": "name,age,country,language\nBea,61,DE,de"}),
    Row(
        "a panel that comes along",
        "person_create",
        {"panel": "varied-50"},
        ("people", "import", "--panel", "varied-50"),
    ),
    Row(
        "people for whom all of it holds",
        "person_get",
        {
            "age_min": 20,
            "age_max": 90,
            "country": ["GB", "DE", "SE", "MA"],
            "trait": ["patience>0.1", "curiosity"],
            "search": "a",
            "limit": 3,
        },
        (
            *("people", "list", "--age", "20..90", "--country", "GB", "--country", "DE", "--country", "SE"),
            *("--country", "MA", "--trait", "patience>0.1", "--trait", "curiosity", "--search", "a"),
            *("--limit", "3"),
        ),
    ),
    Row(
        "a run of some for whom it holds",
        "study_run",
        {"study_id": "<study>", "sample": 1, "seed": 7, "where": {"age_min": 1, "trait": ["patience"]}},
    ),
    Row("one person", "person_get", {"person_id": "<ada>"}, ("people", "show", "<ada>")),
    Row("some people", "person_get", {"limit": 3}, ("people", "list", "--limit", "3")),
    *(
        Row(
            f"a participant that is {name}",
            "participant_get",
            {"participant_id": f"<{name}>"},
            ("get", f"<{name}>"),
        )
        for name in ("done", "failed", "cancelled", "running", "draft", "child")
    ),
    Row(
        "a journey over the lineage",
        "participant_get",
        {"participant_id": "<child>", "view": "interactions"},
        ("get", "<child>", "--view", "interactions"),
    ),
    Row(
        "a page of a journey",
        "participant_get",
        {"participant_id": "<child>", "view": "interactions", "limit": 1},
        ("get", "<child>", "--view", "interactions", "--limit", "1"),
    ),
    Row(
        "what it did itself",
        "participant_get",
        {"participant_id": "<child>", "view": "interactions", "own": True},
        ("get", "<child>", "--view", "interactions", "--own"),
    ),
    Row(
        "a transcript",
        "participant_get",
        {"participant_id": "<child>", "view": "transcript"},
        ("get", "<child>", "--view", "transcript"),
    ),
    Row(
        "where a journey was hard",
        "participant_get",
        {"participant_id": "<child>", "view": "journey"},
        ("get", "<child>", "--view", "journey"),
    ),
    Row("some participants", "participant_get", {"limit": 5}),
    Row(
        "participants of a study by status",
        "participant_get",
        {"study_id": "<study>", "status": "failed"},
        ("get", "<study>", "--status", "failed"),
    ),
    Row(
        "participants of an iteration",
        "participant_get",
        {"iteration_id": "<second>"},
        ("get", "<second>"),
    ),
    Row(
        "participants of an ask by status",
        "participant_get",
        {"ask_id": "<full_ask>", "status": "pending"},
        ("get", "<full_ask>", "--status", "pending"),
    ),
    Row("a cancel of one", "simulation_cancel", {"participant_id": "<pending>"}, ("cancel", "<pending>")),
    Row("a cancel of who is through", "simulation_cancel", {"participant_id": "<done>"}, ("cancel", "<done>")),
    Row("a cancel of a draft", "simulation_cancel", {"participant_id": "<draft>"}, ("cancel", "<draft>")),
    Row(
        "a cancel of an iteration",
        "simulation_cancel",
        {"iteration_id": "<second>"},
        ("cancel", "--iteration", "<second>"),
    ),
    Row(
        "a cancel of an empty study",
        "simulation_cancel",
        {"study_id": "<bare>"},
        ("cancel", "--study", "<bare>"),
    ),
    Row(
        "a cancel of a round",
        "simulation_cancel",
        {"ask_id": "<round_ask>", "round": 2},
        ("cancel", "--ask", "<round_ask>", "--round", "2"),
    ),
    Row(
        "a cancel of an ask",
        "simulation_cancel",
        {"ask_id": "<round_ask>"},
        ("cancel", "--ask", "<round_ask>"),
    ),
    Row("an extend", "simulation_extend", {"participant_id": "<done>"}, ("extend", "<done>")),
    Row(
        "an extend with direction",
        "simulation_extend",
        {"participant_id": "<cancelled>", "additional_steps": 3, "instruction": "  Switch to German.  "},
        ("extend", "<cancelled>", "--steps", "3", "--instruction", "  Switch to German.  "),
    ),
    Row(
        "an extend that is not over in time",
        "simulation_extend",
        {"participant_id": "<failed>", "wait": True, "timeout": 0.05},
        ("extend", "<failed>", "--wait", "--timeout", "0.05"),
        code="wait_timeout",
    ),
    Row(
        "a wait for who is through",
        "simulation_wait",
        {"participant_ids": ["<done>", "<failed>"]},
        ("wait", "<done>", "<failed>"),
    ),
    Row(
        "a wait that runs out",
        "simulation_wait",
        {"participant_ids": ["<running>", "<done>"], "timeout": 0.05},
        ("wait", "<running>", "<done>", "--timeout", "0.05"),
        code="wait_timeout",
    ),
    Row("all pages", "docs_get", {}, ("docs",)),
    Row("a page", "docs_get", {"slug": "concepts/overview"}, ("docs", "concepts/overview")),
]

BAD, NOT_FOUND, CONFLICT = "validation_error", "not_found", "conflict"
LAMPS = {"name": "Lamps", "modality": "interactive", "assignment": TASK}
WRONG = [
    Row("a modality that is none", "study_create", LAMPS | {"modality": "telepathic"}, code=BAD),
    Row("a study without a name", "study_create", LAMPS | {"name": ""}, code=BAD),
    Row("a field that is none", "study_create", LAMPS | {"surplus": 1}, code=BAD, client=False),
    Row("a field that is missing", "study_create", {"name": "Lamps"}, code=BAD, client=False),
    Row(
        "a success that says nothing",
        "study_create",
        LAMPS | {"assignment": {"task": "x", "success": {}}},
        code=BAD,
    ),
    Row("a NUL in a text", "study_create", LAMPS | {"name": "a\x00b"}, code=BAD),
    Row("a place that does not fit", "study_add_iteration", {"study_id": "<chat>", "content": WEB}, code=BAD),
    Row(
        "an address that is none",
        "study_add_iteration",
        {"study_id": "<bare>", "content": WEB | {"url": "ftp://x"}},
        code=BAD,
    ),
    Row(
        "an iteration of nobody's study",
        "study_add_iteration",
        {"study_id": NOBODY, "content": WEB},
        code=NOT_FOUND,
    ),
    Row("a number as text", "study_run", {"study_id": "<study>", "sample": "2"}, code=BAD),
    Row("true for a number", "study_run", {"study_id": "<study>", "sample": True}, code=BAD),
    Row("more people than there are", "study_run", {"study_id": "<study>", "sample": 9_000}, code=BAD),
    Row("a run of nobody", "study_run", {"study_id": "<study>"}, code=BAD),
    Row("a run of both", "study_run", {"study_id": "<study>", "sample": 1, "person_ids": ["<ada>"]}, code=BAD),
    Row("a person twice", "study_run", {"study_id": "<study>", "person_ids": ["<ada>", "<ada>"]}, code=BAD),
    Row("a run of a stranger", "study_run", {"study_id": "<study>", "person_ids": [NOBODY]}, code=NOT_FOUND),
    Row("a run of what has no iteration", "study_run", {"study_id": "<chat>", "sample": 1}, code=BAD),
    Row(
        "an iteration of another study",
        "study_run",
        {"study_id": "<chat>", "iteration_id": "<first>", "sample": 1},
        code=NOT_FOUND,
    ),
    Row(
        "a key used for something else",
        "study_run",
        {"study_id": "<study>", "sample": 2, "seed": 1, "idempotency_key": "k2"},
        code=CONFLICT,
        first={"study_id": "<study>", "sample": 1, "seed": 1, "idempotency_key": "k2"},
    ),
    Row(
        "a wait beyond the longest",
        "study_run",
        {"study_id": "<study>", "sample": 1, "wait": True, "timeout": 1e6},
        code=BAD,
    ),
    *(
        Row(f"a study called {ref}", "study_get", {"study_id": ref, "view": "summary"}, code=code)
        for ref, code in (
            (NOBODY, NOT_FOUND),
            ("s-00000", NOT_FOUND),
            ("<stranger>", NOT_FOUND),
            ("t-abc", BAD),
            ("S-ABC", BAD),
        )
    ),
    Row(
        "a view that is none",
        "study_get",
        {"study_id": "<study>", "view": "summary "},
        code=BAD,
        client=False,
    ),
    Row(
        "a page of what has none",
        "study_get",
        {"study_id": "<study>", "view": "summary", "limit": 5},
        code=BAD,
    ),
    Row("a page too large", "study_get", {"limit": 501}, ("get", "--limit", "501"), code=BAD),
    Row("a cursor that is none", "study_get", {"cursor": "next"}, ("get", "--cursor", "next"), code=BAD),
    Row("an ask of nothing", "ask_run", {"question": "Which?", "variants": [], "sample": 1}, code=BAD),
    Row("a sixth round", "ask_round", {"ask_id": "<full_ask>"}, ("ask", "--next", "<full_ask>"), code=BAD),
    Row("a round of nobody's ask", "ask_round", {"ask_id": NOBODY}, ("ask", "--next", NOBODY), code=NOT_FOUND),
    Row("nobody's ask", "ask_get", {"ask_id": "a-00000"}, ("get", "a-00000"), code=NOT_FOUND),
    Row(
        "somebody too old",
        "person_create",
        ADA | {"age": 131},
        ("people", "add", "--name", "Ada", "--age", "131", "--country", "GB", "--language", "en"),
        code=BAD,
    ),
    Row("a panel of nobody", "person_create", {"generate": 0}, code=BAD),
    Row("a panel too large", "person_create", {"generate": 10_001}, ("people", "generate", "10001"), code=BAD),
    Row("somebody wrong among the right", "person_create", {"people": [ADA, ADA | {"age": "36"}]}, code=BAD),
    Row(
        "a table with a wrong line",
        "person_create",
        {"csv": "name,age,country,language\nBea,61,DE,de\nCem,x,TR,tr"},
        code=BAD,
    ),
    Row("a panel that is none", "person_create", {"panel": "varied"}, code=BAD),
    Row(
        "a condition that is none",
        "person_get",
        {"trait": ["patience<low"]},
        ("people", "list", "--trait", "patience<low"),
        code=BAD,
    ),
    Row(
        "more than it holds for",
        "study_run",
        {"study_id": "<study>", "sample": 1, "where": {"country": ["Atlantis"]}},
        code=BAD,
    ),
    Row("nobody's person", "person_get", {"person_id": NOBODY}, ("people", "show", NOBODY), code=NOT_FOUND),
    Row(
        "a person by a study's alias",
        "person_get",
        {"person_id": "s-abc"},
        ("people", "show", "s-abc"),
        code=BAD,
    ),
    Row(
        "nobody's participant",
        "participant_get",
        {"participant_id": "t-00000"},
        ("get", "t-00000"),
        code=NOT_FOUND,
    ),
    Row(
        "nobody's transcript",
        "participant_get",
        {"participant_id": "t-00000", "view": "transcript"},
        ("get", "t-00000", "--view", "transcript"),
        code=NOT_FOUND,
    ),
    Row("a status that is none", "participant_get", {"status": "done"}, code=BAD),
    Row("two scopes of a list", "participant_get", {"study_id": "<study>", "ask_id": "<ask>"}, code=BAD),
    Row(
        "a list of nobody's iteration",
        "participant_get",
        {"iteration_id": "i-00000"},
        ("get", "i-00000"),
        code=NOT_FOUND,
    ),
    Row("a cancel of nothing", "simulation_cancel", {}, ("cancel",), code=BAD, own_words=True),
    Row(
        "a cancel of two",
        "simulation_cancel",
        {"study_id": "<study>", "participant_id": "<done>"},
        ("cancel", "<done>", "--study", "<study>"),
        code=BAD,
        own_words=True,
    ),
    Row(
        "a round without an ask",
        "simulation_cancel",
        {"study_id": "<bare>", "round": 1},
        ("cancel", "--study", "<bare>", "--round", "1"),
        code=BAD,
        own_words=True,
    ),
    Row(
        "round 0",
        "simulation_cancel",
        {"ask_id": "<ask>", "round": 0},
        ("cancel", "--ask", "<ask>", "--round", "0"),
        code=BAD,
        own_words=True,
    ),
    Row(
        "a round beyond the last",
        "simulation_cancel",
        {"ask_id": "<full_ask>", "round": 6},
        ("cancel", "--ask", "<full_ask>", "--round", "6"),
        code=NOT_FOUND,
    ),
    *(
        Row(f"a cancel of {ref}", "simulation_cancel", {"participant_id": ref}, ("cancel", ref), code=code)
        for ref, code in ((NOBODY, NOT_FOUND), ("<strange_one>", NOT_FOUND), ("s-abc", BAD), ("t-", BAD))
    ),
    *(
        Row(
            f"an extend of who is {name}",
            "simulation_extend",
            {"participant_id": f"<{name}>"},
            ("extend", f"<{name}>"),
            code=BAD,
        )
        for name in ("running", "draft")
    ),
    *(
        Row(
            f"{steps} more steps",
            "simulation_extend",
            {"participant_id": "<done>", "additional_steps": steps},
            ("extend", "<done>", "--steps", str(steps)),
            code=BAD,
        )
        for steps in (0, 101)
    ),
    Row(
        "direction without end",
        "simulation_extend",
        {"participant_id": "<done>", "instruction": "x" * 4_001},
        ("extend", "<done>", "--instruction", "x" * 4_001),
        code=BAD,
    ),
    Row(
        "an extend of nobody's",
        "simulation_extend",
        {"participant_id": NOBODY},
        ("extend", NOBODY),
        code=NOT_FOUND,
    ),
    Row("a wait for nobody", "simulation_wait", {"participant_ids": []}, code=BAD),
    Row(
        "a wait for a stranger",
        "simulation_wait",
        {"participant_ids": ["<strange_one>"]},
        ("wait", "<strange_one>"),
        code=NOT_FOUND,
    ),
    Row("a wait for a study", "simulation_wait", {"participant_ids": ["<study>", "s-abc"]}, code=BAD),
    Row(
        "a wait without end",
        "simulation_wait",
        {"participant_ids": ["<done>"], "timeout": 1e6},
        ("wait", "<done>", "--timeout", "1000000"),
        code=BAD,
    ),
    Row("a wait of no time", "simulation_wait", {"participant_ids": ["<done>"], "timeout": 0}, code=BAD),
    Row(
        "a page that is none",
        "docs_get",
        {"slug": "concepts/nothing"},
        ("docs", "concepts/nothing"),
        code=NOT_FOUND,
    ),
    Row(
        "a slug that is none",
        "docs_get",
        {"slug": "Concepts Overview"},
        ("docs", "Concepts Overview"),
        code=BAD,
    ),
]
