"""Secrets of chatbots: who may send which one where, and what is removed from answers."""

import base64
import itertools
import json
import logging
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from understudy.deploy.owner_only_files import write_private
from understudy.plugins.allowed_workspaces import Workspace
from understudy.plugins.redaction import Redactor
from understudy.plugins.secrets import InvalidSecretsFile, RunSecrets, SecretNotAllowed, Secrets

KEY = "sk-Zebra/0123+456"
VALUE = f"Bearer {KEY}"
OWNER = Workspace(UUID(int=1), "acme")
FRESH = Workspace(UUID(int=2), "fresh")
BOT = {
    "value": VALUE,
    "workspaces": ["acme"],
    "header": "Authorization",
    "origins": ["https://Bot.example"],
    "path_prefix": "/api",
}
RIGHT_URL = "https://bot.example/api/chat"


def secrets_of(folder: Path, content: Any) -> Secrets:
    write_private(folder / "secrets.json", content if isinstance(content, str) else json.dumps(content))
    return Secrets.load(str(folder / "secrets.json"))


def send(
    secrets: Secrets, workspace: Workspace, url: str, header: str, name: str, others: dict[str, str] | None = None
) -> dict[str, str]:
    return secrets.for_run(workspace).headers({header: name}, others or {}, url)


# -- who may send which secret where -----------------------------------------------------------------------


@pytest.mark.parametrize("workspaces", [["acme"], [str(OWNER.id)], ["*"], ["other", "acme"]])
@pytest.mark.parametrize("url", [RIGHT_URL, "https://bot.example:443/api?x=1", "HTTPS://BOT.example/api/"])
def test_secret_is_sent_by_an_allowed_workspace_to_its_place(tmp_path: Path, workspaces: list[str], url: str) -> None:
    secrets = secrets_of(tmp_path, {"bot": BOT | {"workspaces": workspaces}})
    assert send(secrets, OWNER, url, "authorization", "bot") == {"authorization": VALUE}
    assert KEY not in repr(secrets)


NAMES = ("bot", "Bot", "BOT", "bo", "bot_", "nobody")
HEADERS = ("Authorization", "authorization", "X-Api-Key", "Cookie", "X_Authorization")
URLS = (
    RIGHT_URL,
    "https://bot.example/api",
    "https://bot.example/admin",
    "https://bot.example/apifoo",
    "https://bot.example/API/chat",
    "https://bot.example/api/../admin",
    "https://bot.example/api/%2e%2e/admin",
    "https://bot.example/api/%2E%2E%2Fadmin",
    "https://bot.example/api/%252e%252e/admin",
    "https://bot.example/api/..;/admin",
    "https://bot.example/api/;/admin",
    "https://bot.example//api/chat",
    "https://bot.example/api//chat",
    "https://bot.example/api\\..\\admin",
    "https://bot.example/api%2fchat",
    "https://bot.example/%61pi/chat",
    "https://bot.example/api/\uff0e\uff0e/admin",
    "https://bot.example./api/chat",
    "https://bot.example:8443/api/chat",
    "http://bot.example/api/chat",
    "http://bot.example:443/api/chat",
    "https://bot.example.evil.example/api/chat",
    "https://evil.example/api/chat",
    "https://b\u00f6t.example/api/chat",
    "https://bot.example@evil.example/api/chat",
    "https://user:pass@bot.example/api/chat",
    "https://bot.example\\@evil.example/api/chat",
    "https://[::1]/api/chat",
    "https:///api/chat",
    "https://bot.example:99999/api/chat",
    "ftp://bot.example/api/chat",
    "not an address",
    "",
)
VARIANTS = list(itertools.product((FRESH, Workspace(), Workspace(UUID(int=3), str(OWNER.id))), NAMES, HEADERS, URLS))
REROUTED = ("X-Original-URL", "x-rewrite-url", "X_Original_URL", "X-Forwarded-Prefix", "X-HTTP-Method-Override")
OWN_MISTAKES = [
    *((OWNER, name, "Authorization", RIGHT_URL) for name in NAMES[1:]),
    *((OWNER, "bot", header, RIGHT_URL) for header in HEADERS[2:]),
    *((OWNER, "bot", "Authorization", url) for url in URLS[2:]),
]


def test_refusal_of_every_variant_is_the_same(tmp_path: Path) -> None:
    # One entry is of an id, one of nobody: neither is for a workspace that is called like the id.
    secrets = secrets_of(
        tmp_path,
        {"bot": BOT, "Bot": BOT | {"workspaces": [str(OWNER.id)]}, "BOT": {**BOT, "workspaces": []}},
    )
    refusals = set()
    tried = [*VARIANTS, *(mistake for mistake in OWN_MISTAKES if mistake[1] != "Bot")]
    assert len(tried) > 2_000
    for workspace, name, header, url in tried:
        with pytest.raises(SecretNotAllowed) as refused:
            send(secrets, workspace, url, header, name)
        refusals.add(str(refused.value))
    for other in REROUTED:
        with pytest.raises(SecretNotAllowed) as refused:
            send(secrets, OWNER, RIGHT_URL, "Authorization", "bot", {other: "/admin"})
        refusals.add(str(refused.value))
    assert refusals == {"a secret of its headers is not available here"}


def test_reason_of_a_refusal_is_in_the_log_without_the_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(SecretNotAllowed):
        send(secrets_of(tmp_path, {"bot": BOT}), OWNER, "https://bot.example/admin", "Authorization", "bot")
    assert "it is for another path" in caplog.text
    assert KEY not in caplog.text


# -- the file ----------------------------------------------------------------------------------------------


def without(*fields: str) -> dict[str, Any]:
    return {name: value for name, value in BOT.items() if name not in fields}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ([], "a JSON object"),
        ({"a b": {}}, "a name has"),
        ({"bot": without("origins")}, "add origins"),
        ({"bot": BOT | {"orgins": []}}, "not 'orgins'"),
        ({"bot": BOT | {"value": f"{KEY}\n"}}, "ASCII"),
        ({"bot": BOT | {"value": "Bearer abc-123"}}, "8 letters or digits"),
        ({"bot": BOT | {"origins": []}}, "origins must be a list"),
        ({"bot": BOT | {"origins": ["bot.example"]}}, "an origin must look like"),
        ({"bot": BOT | {"origins": ["https://bot.example/api"]}}, "an origin must look like"),
        ({"bot": BOT | {"header": "a b"}}, "header must be"),
        ({"bot": BOT | {"path_prefix": "api"}}, "path_prefix must be"),
        ({"bot": BOT | {"path_prefix": "/api/../x"}}, "path_prefix must be"),
        ({"bot": BOT | {"workspaces": "*"}}, "workspaces must be a list"),
        ({"bot": BOT | {"workspaces": [1]}}, "workspaces must be a list"),
        ({"bot": BOT | {"workspaces": [""]}}, "workspaces must be a list"),
        (
            {"bot": without("workspaces", "header", "path_prefix")},
            'add "workspaces": ["default"], "header": "Authorization", "path_prefix": "/v1"',
        ),
    ],
)
def test_wrong_file_is_refused_without_its_values(tmp_path: Path, content: Any, error: str) -> None:
    with pytest.raises(InvalidSecretsFile) as refused:
        secrets_of(tmp_path, content)
    assert error in str(refused.value)
    assert "sk-" not in str(refused.value)


def test_entry_without_workspaces_is_for_none(tmp_path: Path) -> None:
    with pytest.raises(SecretNotAllowed):
        send(secrets_of(tmp_path, {"bot": without("workspaces")}), OWNER, RIGHT_URL, "Authorization", "bot")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_file_that_others_may_use_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    secrets_of(tmp_path, {"bot": BOT})
    file = tmp_path / "secrets.json"
    file.chmod(mode)
    with pytest.raises(InvalidSecretsFile, match=f"chmod 600 {file}$"):
        Secrets.load(str(file))


def test_no_file_means_no_secrets(tmp_path: Path) -> None:
    with pytest.raises(SecretNotAllowed):
        send(Secrets.load(""), OWNER, RIGHT_URL, "Authorization", "bot")
    with pytest.raises(InvalidSecretsFile, match="cannot be read"):
        Secrets.load(str(tmp_path / "none.json"))


@pytest.mark.parametrize("later", [{}, {"bot": BOT | {"workspaces": ["other"]}}, "{", None])
def test_secret_that_the_operator_takes_back_is_not_sent_any_more(tmp_path: Path, later: Any) -> None:
    run = secrets_of(tmp_path, {"bot": BOT}).for_run(OWNER)
    assert run.headers({"Authorization": "bot"}, {}, RIGHT_URL) == {"Authorization": VALUE}
    if later is None:
        (tmp_path / "secrets.json").chmod(0o644)
    else:
        write_private(tmp_path / "secrets.json", later if isinstance(later, str) else json.dumps(later))
    with pytest.raises(SecretNotAllowed):
        run.headers({"Authorization": "bot"}, {}, RIGHT_URL)
    secrets = secrets_of(tmp_path, {"bot": BOT})
    assert send(secrets, OWNER, RIGHT_URL, "Authorization", "bot")
    assert run.headers({"Authorization": "bot"}, {}, RIGHT_URL) == {"Authorization": VALUE}


# -- redaction ---------------------------------------------------------------------------------------------


def escaped(form: str) -> str:
    return "".join(form.format(ord(letter)) for letter in KEY)


FORMS = {
    "raw": KEY,
    "upper": KEY.upper(),
    "spaced": " ".join(KEY),
    "lines": "\r\n".join(KEY),
    "zero width": "\u200b".join(KEY),
    "tags": "<b></b>".join(KEY),
    "url": "sk-Zebra%2F0123%2B456",
    "url lower": "sk-Zebra%2f0123%2b456",
    "url all": escaped("%{:02X}"),
    "url all lower": escaped("%{:02x}"),
    "url twice": escaped("%25{:02x}"),
    "html decimal": escaped("&#{};"),
    "html padded": escaped("&#00{}"),
    "html hex": escaped("&#x{:x};"),
    "html named": KEY.replace("/", "&sol;").replace("+", "&plus;"),
    "html twice": escaped("&amp;#{};"),
    "json": escaped("\\u{:04x}"),
    "json upper": escaped("\\u{:04X}"),
    "json twice": escaped("\\\\u{:04x}"),
    "json slash": KEY.replace("/", "\\/"),
    "hex": KEY.encode().hex(),
    "hex upper": KEY.encode().hex(":").upper(),
    "hex escapes": escaped("\\x{:02x}"),
} | {
    f"{encode.__name__} {shift}{' bare' if bare else ''}": encode(b"x" * shift + KEY.encode() + b"yz")
    .decode()
    .rstrip("=" if bare else "")
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode)
    for shift in range(4)
    for bare in (False, True)
}


def sent(value: str = VALUE) -> Redactor:
    return Redactor([value])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_form_of_a_sent_secret_is_redacted(form: str) -> None:
    redacted = sent().redact(f"You sent {form}, thanks.")
    assert "[secret]" in redacted
    assert redacted.startswith("You sent ")
    assert redacted.endswith(", thanks.")
    assert len(redacted) < len("You sent [secret], thanks.") + 12


def test_basic_credentials_are_redacted_decoded() -> None:
    redactor = sent(f"Basic {base64.b64encode(b'ada:hunter2-hunter2').decode()}")
    assert redactor.redact("Hi ada:hunter2-hunter2. Or hunter2hunter2.") == "Hi [secret]. Or [secret]."


def test_normal_text_is_unchanged() -> None:
    text = "The Bearer of 100% &amp; <b>news</b> \\u0041 says: sk, zebra 0123. 日本語 ß"
    assert sent().redact(text) == text


def test_long_text_with_a_secret_is_withheld() -> None:
    assert sent().redact("x " * 50_000 + KEY) == "[secret]"
    assert sent().redact("x " * 50_000) == "x " * 50_000


def test_bot_learns_nothing_about_a_secret_that_it_did_not_get(tmp_path: Path) -> None:
    other = "sk-another-9876543210"
    run = secrets_of(tmp_path, {"bot": BOT, "other": BOT | {"value": other}}).for_run(OWNER)
    assert run.redacted(f"{KEY} {other}") == f"{KEY} {other}"
    headers = run.headers({"Authorization": "bot"}, {}, RIGHT_URL)
    assert not run.were_sent
    run.record(headers)
    assert run.redacted(f"{KEY} {other}") == f"[secret] {other}"
    assert RunSecrets().redacted(KEY) == KEY
