"""The Celery app for Flower and the `celery` command: `--app understudy.worker.app`, set by environment.

Workers are started by `understudy worker`, which gives tasks what they need.
"""

from understudy.queue.celery.app import create_celery
from understudy.queue.celery.result_backend import NullResultBackend
from understudy.settings import Settings

app = create_celery(Settings().broker_url)
app.backend_cls = NullResultBackend
# Flower asks for results without naming an app.
app.set_default()
