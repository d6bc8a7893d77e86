"""Isolation: what a visited site, a chatbot or a model does slows down its own run only (promise P10)."""


class OwnFailure(Exception):
    """We lack something of our own: a name server's answer, a file descriptor, a process.

    It says nothing about the site, and a later attempt may succeed. `str()` names what is missing.
    """
