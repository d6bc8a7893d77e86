"""Quotas on language models, shared by all workers: concurrent calls and tokens."""
