"""Calls models over HTTP: the endpoint of each profile, limits on responses, and usage per call."""
