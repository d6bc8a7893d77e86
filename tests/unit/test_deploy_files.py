"""What is deployed is what there is: commands, settings, ports and times in the files of `deploy`."""

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
from understudy.domain.queues import Queue
from understudy.settings import Settings
from understudy.telemetry.exporter import METRIC_SPECS

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
#: Seconds that a drained worker needs at most to release everything: while the store is unavailable.
GIVING_BACK_S = 20

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
def test_each_command_is_one_that_there_is(place: str) -> None:
    words = calls()[place]
    # As far as reading it goes: nothing is run. It raises for what it does not understand.
    with COMMAND.make_context("understudy", list(words)) as context:
        name, command, rest = COMMAND.resolve_command(context, list(words))
        command.make_context(name, rest)


def test_a_fleet_has_all_its_parts_wherever_it_runs() -> None:
    parts = {"api", "worker", "worker --control", "worker --alone", "sweeper", "migrate"}
    for where in ("compose:", "yaml:", ".service"):
        words = [words for place, words in calls().items() if where in place]
        kinds = {" ".join([one[0], *(w for w in one if w in {"--control", "--alone"})]) for one in words}
        assert kinds == parts, where


def test_flower_keeps_what_it_saw_and_shows_arguments_wherever_it_runs() -> None:
    lines = [
        " ".join(COMPOSE["services"]["flower"]["command"]),
        " ".join(pods()["flower.yaml:Deployment/flower"]["containers"][0]["args"]),
        unit(DEPLOY / "systemd" / "understudy-flower.service")["Service"]["ExecStart"],
    ]
    for line in lines:
        assert re.search(FLOWER, line)
    told = [(DEPLOY / name).read_text() for name in ("compose.yaml", "kubernetes/secret.example.yaml")]
    told.append((DEPLOY / "systemd" / "understudy.env.example").read_text())
    assert all("FLOWER_BASIC_AUTH" in text for text in told)


def test_the_settings_that_files_name_exist() -> None:
    files = [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", *MANIFESTS, *UNITS]
    files.append(DEPLOY / "systemd" / "understudy.env.example")
    named = {name for file in files for name in re.findall(r"UNDERSTUDY_([A-Z_]+)", file.read_text())}
    assert {"DATABASE_URL", "BROKER_URL"} <= named
    assert named <= {field.upper() for field in Settings.model_fields}


def test_a_worker_has_time_to_give_back_what_it_runs() -> None:
    least = Settings(_env_file=None).drain_grace_s + GIVING_BACK_S  # type: ignore[call-arg]
    workers = [name for name, words in calls().items() if words[0] == "worker"]
    assert len(workers) == 9
    for name in workers:
        if name.startswith("compose:"):
            grace = COMPOSE["services"][name.removeprefix("compose:")]["stop_grace_period"].removesuffix("s")
        elif name.endswith(".service"):
            grace = unit(DEPLOY / "systemd" / name)["Service"]["TimeoutStopSec"]
        else:
            grace = pods()[name]["terminationGracePeriodSeconds"]
        assert int(grace) > least, name


def test_a_worker_is_started_anew_by_itself_before_its_memory_is_taken() -> None:
    limits = [COMPOSE["services"][name]["mem_limit"].removesuffix("m") for name in ("worker", "alone")]
    for name in ("worker", "alone"):
        limit = pods()[f"workers.yaml:Deployment/{name}"]["containers"][0]["resources"]["limits"]["memory"]
        limits.append(limit.removesuffix("Mi"))
    for file in ("understudy-worker@.service", "understudy-alone.service"):
        limits.append(unit(DEPLOY / "systemd" / file)["Service"]["MemoryMax"].removesuffix("M"))
    assert min(map(int, limits)) > Settings(_env_file=None).max_memory_mb  # type: ignore[call-arg]


def test_nothing_runs_as_root_or_writes_where_it_should_not() -> None:
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
    for name, service in COMPOSE["services"].items():
        if service["image"] == "understudy" and name != "flower-folder":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
    image = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d*$", image, re.MULTILINE)
    for file in UNITS:
        assert unit(file)["Service"]["User"] == "understudy"


def test_kustomize_takes_every_manifest_but_the_example() -> None:
    told = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    there = {file.name for file in MANIFESTS} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(told) == there


def test_every_deployment_may_lose_only_some_at_a_time() -> None:
    several = {
        one["spec"]["template"]["metadata"]["labels"]["app"]
        for _, one in documents()
        if one["kind"] == "Deployment" and one["spec"].get("replicas", 2) > 1
    }
    guarded = {
        one["spec"]["selector"]["matchLabels"]["app"] for _, one in documents() if one["kind"] == "PodDisruptionBudget"
    }
    assert guarded == several == {"api", "worker", "control", "sweeper"}


def test_what_the_scaler_asks_for_is_told() -> None:
    text = (DEPLOY / "kubernetes" / "scaling.yaml").read_text()
    assert f'understudy_queue_messages{{queue="{Queue.RUNS}"}}' in text
    asked = set(re.findall(r"understudy_[a-z_]+", text))
    assert asked == {"understudy_queue_messages", "understudy_participants", "understudy_run_slots"}
    assert asked <= set(METRIC_SPECS)


def test_passwords_are_asked_for_and_never_there() -> None:
    example = (DEPLOY / "compose.env.example").read_text()
    asked = set(re.findall(r"\$\{([A-Z_]+)[:}]", (DEPLOY / "compose.yaml").read_text()))
    assert asked == set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))
