"""Every override of Celery and kombu, each with a contract test."""
