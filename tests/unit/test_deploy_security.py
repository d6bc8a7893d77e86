"""What each part of a deployment may do and reach: see docs/security.md."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_deploy_files import COMPOSE, DEPLOY, UNITS, documents, pods, unit

#: The parts that connect to addresses that callers choose.
OUTSIDE = {"worker", "alone", "webhooks"}
#: Part -> the secrets that it gets.
SECRETS = {
    **{key: {"store", "broker", "models"} for key in ("worker", "alone")},
    **{key: {"store", "broker"} for key in ("api", "control", "sweeper")},
    **{key: {"store"} for key in ("webhooks", "migrate")},
    "flower": {"broker", "flower"},
}


def policies() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for _, one in documents() if one["kind"] == "NetworkPolicy"}


def selected(policy: dict[str, Any]) -> set[str]:
    """Returns the parts that a policy is for."""
    (expression,) = policy["podSelector"]["matchExpressions"]
    return {*expression["values"]}


def test_pods_get_only_their_secrets_and_no_account_of_the_cluster() -> None:
    given = {
        pod["containers"][0]["name"]: {
            one["secretRef"]["name"].removeprefix("understudy-") for one in pod["containers"][0]["envFrom"]
        }
        for pod in pods().values()
    }
    assert given == SECRETS
    assert {pod["automountServiceAccountToken"] for pod in pods().values()} == {False}
    made = {one["metadata"]["name"] for _, one in documents() if one["kind"] == "Secret"}
    assert made == {f"understudy-{name}" for name in (*set().union(*SECRETS.values()), "scaler")}


def test_traffic_is_denied_unless_a_part_needs_it() -> None:
    found = policies()
    assert found["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert selected(found["store"]) == {part for part, secrets in SECRETS.items() if "store" in secrets}
    assert selected(found["broker"]) == {part for part, secrets in SECRETS.items() if "broker" in secrets}
    assert selected(found["outside"]) == OUTSIDE
    assert [one["port"] for one in found["store"]["egress"][0]["ports"]] == [5432]


def test_outside_excludes_private_and_metadata_addresses() -> None:
    blocks = [one["ipBlock"] for one in policies()["outside"]["egress"][0]["to"]]
    excluded = {network for block in blocks for network in block["except"]}
    assert {block["cidr"] for block in blocks} == {"0.0.0.0/0", "::/0"}
    assert excluded >= {"10.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "127.0.0.0/8", "fc00::/7", "fe80::/10"}


def test_compose_gives_each_part_its_networks() -> None:
    ours = {name: {*one["networks"]} for name, one in COMPOSE["services"].items() if name in SECRETS}
    assert {name for name, networks in ours.items() if "outside" in networks} == OUTSIDE
    for name, networks in ours.items():
        assert networks & {"store", "broker"} == SECRETS[name] & {"store", "broker"}
    internal = {name for name, one in COMPOSE["networks"].items() if (one or {}).get("internal")}
    assert internal == {"store", "broker", "metrics"}
    settings = {name: set(COMPOSE["services"][name]["environment"]) for name in SECRETS}
    assert {name for name, names in settings.items() if "UNDERSTUDY_BROKER_URL" in names} == {
        part for part, secrets in SECRETS.items() if "broker" in secrets
    }


def test_what_is_only_in_front_opens_no_connection_to_the_outside() -> None:
    assert COMPOSE["networks"]["front"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def test_every_image_that_we_do_not_build_has_a_version_and_a_digest() -> None:
    base = re.search("^ARG PYTHON_IMAGE=(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert f"${{PYTHON_IMAGE:-{base[1]}}}" == COMPOSE["services"]["migrate"]["build"]["args"]["PYTHON_IMAGE"]
    images = {one["image"] for one in COMPOSE["services"].values()} - {"understudy"}
    names = [base[1], *(image.partition(":-")[2].rstrip("}") for image in images)]
    assert len(names) == 5
    assert [name for name in names if not re.fullmatch(r"[\w/]+:v?\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", name)] == []


def test_digests_name_every_image_that_we_do_not_build(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\ntest "$1 $2 $3" = "buildx imagetools inspect" && echo "sha256:of-$4"\n')
    docker.chmod(0o700)
    made = tmp_path / "images.env"
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    make = ["make", "-s", "digests", f"IMAGES={made}"]
    subprocess.run(make, cwd=DEPLOY.parent, env=env, check=True)
    lines = dict(line.split("=", 1) for line in made.read_text().splitlines()[1:])
    base = re.search("^ARG PYTHON_IMAGE=(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    images = {one["image"] for one in COMPOSE["services"].values()} - {"understudy"}
    named = {f"${{{name}:-{value.partition('@')[0]}" for name, value in lines.items()}
    assert named == {image.partition("@")[0] for image in (*images, f"${{PYTHON_IMAGE:-{base[1]}}}")}
    assert all(value.partition("@")[2] == f"sha256:of-{value.partition('@')[0]}" for value in lines.values())
    # A registry that does not answer leaves the file as it is.
    docker.write_text("#!/bin/sh\nexit 1\n")
    before = made.read_text()
    assert subprocess.run(make, cwd=DEPLOY.parent, env=env, check=False, capture_output=True).returncode != 0
    assert made.read_text() == before


def test_no_command_line_has_a_password() -> None:
    for name, service in COMPOSE["services"].items():
        words = json.dumps([service.get("command"), service.get("entrypoint"), service.get("healthcheck")])
        assert "PASSWORD" not in words, name
    assert {"no-new-privileges:true"} == {
        option for service in COMPOSE["services"].values() for option in service["security_opt"]
    }


@pytest.mark.parametrize("file", UNITS, ids=[file.stem for file in UNITS])
def test_units_are_confined(file: Any) -> None:
    text = file.read_text()
    part = file.stem.removeprefix("understudy-").removesuffix("@")
    service = unit(file)["Service"]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictNamespaces", "LockPersonality"):
        assert service[name] == "yes"
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")
    assert (service["SystemCallFilter"], service["UMask"]) == ("@system-service", "0077")
    denied = service["IPAddressDeny"].split()
    assert ({"169.254.0.0/16", "fe80::/10"} <= {*denied}) if part in OUTSIDE else (denied == ["any"])
    files = {line.rpartition("/")[2].removesuffix(".env") for line in text.splitlines() if "EnvironmentFile=" in line}
    assert files - {"understudy"} == SECRETS[part]


def test_example_of_each_environment_file_exists() -> None:
    text = (DEPLOY / "systemd" / "understudy.env.example").read_text()
    assert all(f"/etc/understudy/{name}.env" in text for name in set().union(*SECRETS.values()))
