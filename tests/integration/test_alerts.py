"""Alert rules and dashboard: made of metrics that exist, and explained. promtool tries the rules."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import understudy.telemetry.metrics  # noqa: F401 - declares them
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
def test_an_alert_is_made_of_metrics_that_exist_and_is_explained(rule: dict[str, Any]) -> None:
    check_expression(rule["expr"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    assert f"\n## {rule['alert']}\n" in (ROOT / page).read_text()


def test_every_entry_of_the_runbook_is_of_an_alert() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in rules()]
    for code in re.findall(r"`([^`]*understudy_[^`]*)`", page):
        check_expression(code)


def test_a_check_of_expressions_can_fail() -> None:
    for wrong in (
        "understudy_nothing",
        "understudy_step_seconds",
        "understudy_workers_bucket",
        'understudy_claims_total{result="gone"}',
        'understudy_claims_total{nobody="x"}',
        "sum by (result) (understudy_workers)",
    ):
        with pytest.raises((AssertionError, KeyError)):
            check_expression(wrong)


def promtool() -> str:
    found = str(MADE) if MADE.exists() else shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: `make promtool` fetches it from Debian's package `prometheus`")
    return found


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("check", "config", "prometheus.yml"),
        ("check", "config", "servers.yml"),
    ],
)
def test_promtool_accepts_the_rules_and_each_fires_when_it_should(command: tuple[str, ...]) -> None:
    told = subprocess.run([promtool(), *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_alert_is_shown_to_fire_and_not_to() -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tested = [test for case in cases for test in case["alert_rule_test"]]
    for rule in rules():
        assert {bool(test["exp_alerts"]) for test in tested if test["alertname"] == rule["alert"]} == {
            True,
            False,
        }


# -- the dashboard -----------------------------------------------------------------------------------------


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_a_panel_shows_metrics_that_exist(panel: dict[str, Any]) -> None:
    assert panel["description"]
    for target in panel["targets"]:
        assert re.search("understudy_|process_", target["expr"])
        check_expression(target["expr"])
        # What a legend names is a label of what is shown.
        legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = {label.strip() for by in _BY.findall(target["expr"]) for label in by.split(",")}
        assert legend <= grouped | {"job", "instance"}
        told = target["datasource"]
        assert told == {"type": "prometheus", "uid": "${datasource}"}


def test_prometheus_understands_every_panel_and_every_question_of_the_runbook(tmp_path: Path) -> None:
    asked = [target["expr"].replace("$__rate_interval", "5m") for panel in panels() for target in panel["targets"]]
    page = (ROOT / "docs" / "alerts.md").read_text()
    asked += re.findall(r"`([^`]*understudy_[^`]*)`", page)
    group = {
        "name": "asked",
        "rules": [{"record": f"asked:{k}", "expr": expr} for k, expr in enumerate(asked)],
    }
    file = tmp_path / "asked.yml"
    file.write_text(yaml.safe_dump({"groups": [group]}))
    told = subprocess.run([promtool(), "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{len(asked)} rules found" in told.stdout


def test_panels_stand_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        taken |= cells
        ids.add(panel["id"])
    assert len(ids) == len(json.loads(DASHBOARD.read_text())["panels"])


def test_every_metric_is_shown_or_watched() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    seen = " ".join([*expressions, *(rule["expr"] for rule in rules())])
    # For whoever looks at one worker by itself.
    assert {name for name in METRIC_SPECS if name not in seen} == {"understudy_lease_seconds"}
