"""Quotas on language models, shared by a fleet: calls at a time, and tokens."""
