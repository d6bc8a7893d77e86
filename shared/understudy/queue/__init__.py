"""The whole agreement between api and worker over the broker: names, payloads, the Celery app, publishing."""
