"""Asks models over HTTP: the endpoint of each profile, what it may send, and what a call takes."""
