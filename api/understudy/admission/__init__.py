"""Checks of every request before an interface sees it, and the bodies of errors."""
