"""Defines what api and worker exchange over the broker: names, payloads, the Celery app, publishing."""
