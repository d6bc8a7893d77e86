"""Schemathesis on the whole published description: `make schemathesis`, or `python -m tests.fuzz [OPTIONS]`.

It starts an API server on a store with objects of every kind; `st run` sends requests that match the
description and requests that do not. Options are those of `st run`; `--max-examples` counts per operation.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from uuid import UUID

from tests.contract.manual_worker import run_steps, run_to_end
from tests.factories import make_ask, make_participants, make_study, make_workspace
from tests.servers import serve_in_thread
from understudy.api.app import create_app
from understudy.deploy.broker import BrokerServer
from understudy.deploy.migrate import migrate
from understudy.domain.lifecycle import Status
from understudy.settings import Settings
from understudy.store import Connection, people, webhooks
from understudy.store.engine import Store

CONFIG = """
[dictionaries]
studies.values = {studies}
iterations.values = {iterations}
asks.values = {asks}
people.values = {people}
participants.values = {participants}
webhooks.values = {webhooks}
few.values = [1, 2, 3]

# Most requests name an existing object; the others get a 404.
[parameters]
"path.study_id" = {{ dictionary = "studies", probability = 0.9 }}
"path.ask_id" = {{ dictionary = "asks", probability = 0.9 }}
"path.person_id" = {{ dictionary = "people", probability = 0.9 }}
"path.participant_id" = {{ dictionary = "participants", probability = 0.9 }}
"path.webhook_id" = {{ dictionary = "webhooks", probability = 0.9 }}
"query.study_id" = {{ dictionary = "studies", probability = 0.9 }}
"query.iteration_id" = {{ dictionary = "iterations", probability = 0.9 }}
"query.ask_id" = {{ dictionary = "asks", probability = 0.9 }}
"query.participant_id" = {{ dictionary = "participants", probability = 0.9 }}
# Streams end after the last event; otherwise they never end.
"query.follow" = "false"
"body.study_id" = {{ dictionary = "studies", probability = 0.9 }}
"body.iteration_id" = {{ dictionary = "iterations", probability = 0.9 }}
"body.ask_id" = {{ dictionary = "asks", probability = 0.9 }}
"body.participant_id" = {{ dictionary = "participants", probability = 0.9 }}
"body.participant_ids[*]" = {{ dictionary = "participants", probability = 0.9 }}
"body.person_ids[*]" = {{ dictionary = "people", probability = 0.9 }}
"body.sample" = {{ dictionary = "few", probability = 0.9 }}
# Other tests create ten thousand people.
"body.generate" = {{ dictionary = "few", probability = 0.9 }}

[[operations]]
include-path = "/v1/events"
# A stream that follows has no end to check. A ticket that fits the schema is rarely a valid one.
parameters = {{ "query.follow" = "false" }}
checks = {{ positive_data_acceptance = {{ expected-statuses = ["2xx", 401, 404, 409, 422] }} }}

[checks.positive_data_acceptance]
# A valid request may still name a missing object or conflict with an existing one.
expected-statuses = ["2xx", 404, 409, 422]
"""


def main(options: list[str]) -> int:
    """Returns the exit code of `st run`."""
    with tempfile.TemporaryDirectory(prefix="understudy-fuzz-") as name, BrokerServer(Path(name)) as broker:
        folder = Path(name)
        # Waits are short, because no worker runs.
        settings = Settings(data_dir=folder, broker_url=broker.url, max_wait_s=0.05, max_participants_per_run=10)
        migrate(settings)
        store = Store(settings.store_url)
        secret = furnish(store, folder / "schemathesis.toml")
        try:
            with serve_in_thread(create_app(settings)) as url:
                command = [str(Path(sys.executable).with_name("st")), "--config-file", "schemathesis.toml"]
                command += ["run", f"{url}/openapi.json", "--checks", "all", "--no-color"]
                command += ["--suppress-health-check", "all"]
                command += ["--header", f"Authorization: Bearer {secret}", *options]
                return subprocess.run(command, cwd=folder, check=False).returncode
        finally:
            store.dispose()


def furnish(store: Store, config: Path) -> str:
    """Creates a workspace with objects of every kind, writes the configuration; returns the token."""
    made = make_workspace(store)
    workspace_id = made.workspace_id
    study, iterations = make_study(store, workspace_id, iterations=2)
    ask, rounds = make_ask(store, workspace_id)
    participants: list[UUID] = []
    for status in ("completed", "failed", "cancelled", "running", "pending"):
        some = make_participants(store, workspace_id, study, iterations[0], 3)
        participants += some
        for id_ in some:
            if status == "running":
                run_steps(store, id_, 1)
            elif status != "pending":
                run_to_end(store, id_, 2, status)
    participants += make_participants(store, workspace_id, study, iterations[1], status=Status.DRAFT)
    participants += [id_ for ids in rounds for id_ in ids]
    with store.read() as connection:
        everyone = people.sample_people(connection, workspace_id, 4, 0)
    config.write_text(
        CONFIG.format(
            studies=[str(study)],
            iterations=[str(id_) for id_ in iterations],
            asks=[str(ask)],
            people=[str(id_) for id_ in everyone],
            participants=[str(id_) for id_ in participants],
            webhooks=[str(store.write(partial(_insert_webhook, workspace_id=workspace_id))) for _ in range(10)],
        )
    )
    return made.secret


def _insert_webhook(connection: Connection, workspace_id: UUID) -> UUID | None:
    return webhooks.insert_webhook(connection, workspace_id, "https://93.184.215.14/", ["run.finished"], "whsec_QUJD")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
