"""The commands, settings, ports and times in the files of `deploy` exist in this version."""

import re
import shlex
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from tests.servers import ROOT
from understudy.deploy.main import app
from understudy.deploy.stack import FLOWER_OPTIONS
from understudy.environments import page_lanes
from understudy.settings import Settings
from understudy.telemetry.exporter import METRIC_SPECS

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
#: Seconds that a drained worker needs at most to release everything: while the store is unavailable.
RELEASE_S = 20
DEFAULTS = Settings(_env_file=None)  # type: ignore[call-arg]
COMMAND: Any = typer.main.get_command(app)
FLOWER = r"--app[= ]understudy\.worker\.app flower .*--db=\S+ " + " ".join(
    f"--{k}={v}" for k, v in FLOWER_OPTIONS.items()
)


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in MANIFESTS:
        for document in yaml.safe_load_all(file.read_text()):
            yield f"{file.name}:{document['kind']}/{document.get('metadata', {}).get('name')}", document


def pods() -> dict[str, dict[str, Any]]:
    found = {name: one.get("spec", {}).get("template") for name, one in documents()}
    return {name: template["spec"] for name, template in found.items() if template}


def unit(file: Path) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(file.read_text())
    return parser


def calls() -> dict[str, list[str]]:
    """Every command line of ours in the files, by where it is."""
    found = {
        f"compose:{name}": one["command"]
        for name, one in COMPOSE["services"].items()
        if one["image"] == "understudy" and "entrypoint" not in one
    }
    for name, pod in pods().items():
        if "command" not in pod["containers"][0]:
            found[name] = pod["containers"][0]["args"]
    for file in UNITS:
        words = shlex.split(unit(file)["Service"]["ExecStart"].replace("%i", "9100"))
        if words[0].endswith("/understudy"):
            found[file.name] = words[1:]
    return found


@pytest.mark.parametrize("place", calls())
def test_each_command_exists(place: str) -> None:
    words = calls()[place]
    # It parses the command and runs nothing; an unknown option raises.
    with COMMAND.make_context("understudy", list(words)) as context:
        name, command, rest = COMMAND.resolve_command(context, list(words))
        command.make_context(name, rest)


@pytest.mark.parametrize("where", ["compose:", "yaml:", ".service"])
def test_a_fleet_has_all_its_parts(where: str) -> None:
    found = [words for place, words in calls().items() if where in place]
    kinds = {" ".join([words[0], *(word for word in words if word in {"--control", "--alone"})]) for words in found}
    assert kinds == {"api", "worker", "worker --control", "worker --alone", "sweeper", "webhooks", "migrate"}


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        (" ".join(COMPOSE["services"]["flower"]["command"]), "compose.yaml"),
        (" ".join(pods()["flower.yaml:Deployment/flower"]["containers"][0]["args"]), "kubernetes/secret.example.yaml"),
        (unit(DEPLOY / "systemd/understudy-flower.service")["Service"]["ExecStart"], "systemd/understudy.env.example"),
    ],
    ids=["compose", "kubernetes", "systemd"],
)
def test_flower_keeps_its_data_shows_arguments_and_has_a_password(command: str, environment: str) -> None:
    assert re.search(FLOWER, command)
    assert "FLOWER_BASIC_AUTH" in (DEPLOY / environment).read_text()


def test_settings_in_files_exist() -> None:
    files = [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", *MANIFESTS, *UNITS]
    files.append(DEPLOY / "systemd" / "understudy.env.example")
    named = {name for file in files for name in re.findall(r"UNDERSTUDY_([A-Z_]+)", file.read_text())}
    assert {"DATABASE_URL", "BROKER_URL"} <= named
    assert named <= {field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("place", [place for place, words in calls().items() if words[0] == "worker"])
def test_a_worker_has_time_to_release_its_runs(place: str) -> None:
    if place.startswith("compose:"):
        grace = COMPOSE["services"][place.removeprefix("compose:")]["stop_grace_period"].removesuffix("s")
    elif place.endswith(".service"):
        grace = unit(DEPLOY / "systemd" / place)["Service"]["TimeoutStopSec"]
    else:
        grace = pods()[place]["terminationGracePeriodSeconds"]
    assert int(grace) > DEFAULTS.drain_grace_s + RELEASE_S


def test_a_worker_restarts_itself_below_its_memory_limit() -> None:
    limits = [COMPOSE["services"][name]["mem_limit"].removesuffix("m") for name in ("worker", "alone")]
    containers = [pods()[f"workers.yaml:Deployment/{name}"]["containers"][0] for name in ("worker", "alone")]
    limits += [container["resources"]["limits"]["memory"].removesuffix("Mi") for container in containers]
    units = [unit(DEPLOY / f"systemd/understudy-{name}.service") for name in ("worker@", "alone")]
    limits += [one["Service"]["MemoryMax"].removesuffix("M") for one in units]
    # Its child processes count too.
    assert min(map(int, limits)) > DEFAULTS.max_memory_mb + page_lanes.ORDINARY.max_mb + page_lanes.HUGE.max_mb


def test_nothing_runs_as_root_or_has_a_writable_root() -> None:
    containers = [container for pod in pods().values() for container in pod["containers"]]
    assert {pod["securityContext"]["runAsNonRoot"] for pod in pods().values()} == {True}
    assert {container["securityContext"]["readOnlyRootFilesystem"] for container in containers} == {True}
    services = [one for name, one in COMPOSE["services"].items() if name != "flower-folder"]
    ours = [(one["read_only"], one["cap_drop"]) for one in services if one["image"] == "understudy"]
    assert ours == [(True, ["ALL"])] * len(ours)
    assert re.search(r"^USER [1-9]\d*$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert {unit(file)["Service"]["User"] for file in UNITS} == {"understudy"}


def test_kustomize_lists_every_manifest_but_the_example() -> None:
    told = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    there = {file.name for file in MANIFESTS} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(told) == there


def test_every_deployment_of_several_has_a_disruption_budget() -> None:
    several = {
        one["spec"]["template"]["metadata"]["labels"]["app"]
        for _, one in documents()
        if one["kind"] == "Deployment" and one["spec"].get("replicas", 2) > 1
    }
    guarded = {
        one["spec"]["selector"]["matchLabels"]["app"] for _, one in documents() if one["kind"] == "PodDisruptionBudget"
    }
    assert guarded == several == {"api", "worker", "control", "sweeper", "webhooks"}


def test_metrics_of_the_scaler_exist() -> None:
    text = (DEPLOY / "kubernetes" / "scaling.yaml").read_text()
    # Not the length of a queue: only a window is published.
    assert set(re.findall(r"understudy_[a-z_]+", text)) == {"understudy_slots_wanted"} <= set(METRIC_SPECS)


def test_passwords_are_variables_without_a_value() -> None:
    example = (DEPLOY / "compose.env.example").read_text()
    # Images have a default: see `make digests`.
    asked = set(re.findall(r"\$\{([A-Z_]+)(?::\?|\})", (DEPLOY / "compose.yaml").read_text()))
    assert asked == set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))
