"""Generates a client from /openapi.json and uses it: `make generated-client`.

The client of openapi-python-client must start a run, read a wait that runs out as a failure, cancel and extend.
"""

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.servers import ROOT, serve_in_thread
from understudy.api.app import create_app
from understudy.deploy.bootstrap import ensure_default_workspace
from understudy.deploy.migrate import migrate
from understudy.settings import Settings

GENERATOR = ROOT / "build" / "generated-client" / "bin" / "openapi-python-client"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # No worker runs here, so every wait runs out; nothing listens at the broker's address.
        settings = Settings(data_dir=Path(folder), broker_url="redis://127.0.0.1:1/0")
        migrate(settings)
        ensure_default_workspace(settings)
        app = create_app(settings)
        file = Path(folder) / "openapi.json"
        file.write_text(json.dumps(app.openapi()))
        command = [str(GENERATOR), "generate", "--path", str(file), "--meta", "none", "--output-path"]
        subprocess.run([*command, f"{folder}/generated"], check=True, capture_output=True)
        sys.path.insert(0, folder)
        with serve_in_thread(app) as address:
            _use(address, (settings.data_dir / "token").read_text().strip())
    print("the generated client started, waited, cancelled and extended")


def _use(address: str, token: str) -> None:
    client = importlib.import_module("generated").AuthenticatedClient(base_url=address, token=token)
    models = importlib.import_module("generated.models")

    def call(tag: str, name: str, body: dict[str, Any] | None = None, model: str = "", **path: str) -> Any:
        operation = importlib.import_module(f"generated.api.{tag}.{name}")
        options = {"body": getattr(models, model).from_dict(body)} if body is not None else {}
        return operation.sync(client=client, **path, **options)

    content = {"environment": "web", "url": "http://127.0.0.1:9/"}
    study = call(
        "study",
        "study_create",
        {"name": "Lamps", "assignment": {"task": "Buy"}, "iteration": {"content": content}},
        "StudyRequest",
    )
    run = call("dispatch", "study_run", {"sample": 1}, "StudyRunRequest", study_id=str(study.id))
    _check(run, models.RunSuccess)
    (participant,) = map(str, run.dispatch.participant_ids)
    body = {"participant_ids": [participant], "timeout": 0.1}
    _check(call("simulation", "simulation_wait", body, "WaitRequest"), models.RunFailure)
    cancelled = call("simulation", "simulation_cancel", {"participant_id": participant}, "CancelRequest")
    assert cancelled.summary.cancelled_count == 1, cancelled
    child = call("dispatch", "simulation_extend", {"participant_id": participant}, "ExtendRequest")
    _check(child, models.RunSuccess)


def _check(answer: Any, model: Any) -> None:
    assert isinstance(answer, model), f"{type(answer).__name__}, not {model.__name__}: {answer}"


if __name__ == "__main__":
    main()
