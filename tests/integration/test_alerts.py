"""Alert rules and dashboard: their metrics exist, and each alert is explained. promtool tests the rules."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import understudy.telemetry.metrics
import understudy.telemetry.retention_metrics  # noqa: F401 - declares them
from understudy.telemetry.exporter import METRIC_SPECS

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
#: Where `make promtool` puts it.
MADE = ROOT / "build" / "prometheus" / "usr" / "bin" / "promtool"

_SELECTOR = re.compile(r"\b(understudy_\w+)(\{[^}]*\})?")
_MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
_BY = re.compile(r"\bby\s*\(([^)]*)\)")
#: Labels that Prometheus gives, and histograms have.
_ALWAYS = {"instance", "job", "le"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def check_expression(expression: str) -> None:
    """Every metric in it is declared, in the form that its kind has, with labels and values that it takes."""
    labels = set()
    for name, matchers in _SELECTOR.findall(expression):
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        declared = METRIC_SPECS.get(name) or METRIC_SPECS[base]
        assert (declared.kind == "histogram") == (name != declared.name), name
        labels |= {*declared.labels, *_ALWAYS}
        for label, how, value in _MATCHER.findall(matchers):
            if label in _ALWAYS or value.startswith("$"):
                continue
            known = declared.labels[label]
            if known and how in {"=", "!="}:
                assert value in known
            elif known:
                assert set(value.split("|")) <= set(known)
    for by in _BY.findall(expression):
        assert {label.strip() for label in by.split(",")} <= labels, expression


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_alert_uses_metrics_that_exist_and_is_explained(rule: dict[str, Any]) -> None:
    check_expression(rule["expr"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    assert f"\n## {rule['alert']}\n" in (ROOT / page).read_text()


def test_runbook_has_one_entry_per_alert() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in rules()]
    for code in re.findall(r"`([^`]*understudy_[^`]*)`", page):
        check_expression(code)


@pytest.mark.parametrize(
    "expression",
    [
        "understudy_nothing",
        "understudy_step_seconds",
        "understudy_workers_bucket",
        'understudy_claims_total{result="other"}',
        'understudy_claims_total{other="x"}',
        "sum by (result) (understudy_workers)",
    ],
)
def test_check_of_expressions_finds_unknown_names(expression: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_expression(expression)


def promtool(*arguments: str) -> str:
    """Its output, once it has accepted the files."""
    found = str(MADE) if MADE.exists() else shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: `make promtool` fetches it from Debian's package `prometheus`")
    ran = subprocess.run([found, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "prometheus.yml"),
        ("check", "config", "servers.yml"),
    ],
)
def test_promtool_accepts_the_rules_and_their_tests(command: tuple[str, ...]) -> None:
    promtool(*command)


def test_every_alert_has_a_test_where_it_fires_and_one_where_it_does_not() -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tested = {(test["alertname"], bool(test["exp_alerts"])) for case in cases for test in case["alert_rule_test"]}
    assert tested == {(rule["alert"], fires) for rule in rules() for fires in (True, False)}


# -- the dashboard -----------------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


TARGETS = [
    pytest.param(target, id=f"{panel['title']} {target['refId']}") for panel in panels() for target in panel["targets"]
]


@pytest.mark.parametrize("target", TARGETS)
def test_panel_shows_metrics_that_exist(target: dict[str, Any]) -> None:
    assert re.search("understudy_|process_", target["expr"])
    check_expression(target["expr"])
    # A legend names only labels of the expression.
    legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    grouped = {label.strip() for by in _BY.findall(target["expr"]) for label in by.split(",")}
    assert legend <= grouped | {"job", "instance"}
    assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_panel_has_a_description() -> None:
    assert [panel["title"] for panel in panels() if not panel["description"]] == []


def test_prometheus_accepts_the_expressions_of_the_dashboard_and_the_runbook(tmp_path: Path) -> None:
    asked = [target["expr"].replace("$__rate_interval", "5m") for panel in panels() for target in panel["targets"]]
    asked += re.findall(r"`([^`]*understudy_[^`]*)`", (ROOT / "docs" / "alerts.md").read_text())
    records = [{"record": f"asked:{k}", "expr": expr} for k, expr in enumerate(asked)]
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": records}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", str(file))


def test_panels_do_not_overlap() -> None:
    everything = json.loads(DASHBOARD.read_text())["panels"]
    places = [panel["gridPos"] for panel in everything]
    cells = [(at["x"] + x, at["y"] + y) for at in places for x in range(at["w"]) for y in range(at["h"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in everything}) == len(everything)


def test_every_metric_is_in_the_dashboard_or_in_an_alert() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    seen = " ".join([*expressions, *(rule["expr"] for rule in rules())])
    # Only of use for a single worker.
    assert {name for name in METRIC_SPECS if name not in seen} == {"understudy_lease_seconds"}
