"""The Celery app as Flower and the `celery` command find it: `--app worker.app`, set by the environment.

Workers are started by `understudy worker`, which gives tasks what they need.
"""

from shared.queue.celery import create_celery
from shared.settings import Settings

app = create_celery(Settings().broker_url)
