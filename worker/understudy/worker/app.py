"""The Celery app for Flower and the `celery` command, not for starting workers: `--app understudy.worker.app`.

The environment sets its broker. `understudy worker` starts workers: it passes tasks their dependencies.
"""

from understudy.queue.celery.app import create_celery
from understudy.queue.celery.result_backend import NullResultBackend
from understudy.settings import Settings

app = create_celery(Settings().broker_url)
app.backend_cls = NullResultBackend
# Flower reads results from the default app.
app.set_default()
