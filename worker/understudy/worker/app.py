"""The Celery app for Flower and the `celery` command, not for starting workers: `--app understudy.worker.app`.

The environment sets its broker. `understudy worker` starts workers: it passes tasks their dependencies. `celery
worker` is refused, and so is whatever sends a message.
"""

from understudy.queue.celery.app import create_celery
from understudy.queue.celery.result_backend import NullResultBackend
from understudy.queue.celery.tool_app import ToolApp, remove_tasks
from understudy.queue.celery.worker import refuse_workers
from understudy.settings import Settings

app = create_celery(Settings().broker_url, app_type=ToolApp)
refuse_workers(app, "Start workers with `understudy worker`; a plain Celery worker would discard run messages.")
app.backend_cls = NullResultBackend
# Flower reads results from the default app.
app.set_default()
remove_tasks(app)
