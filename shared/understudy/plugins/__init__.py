"""Plug-ins: which are installed, and what they are given."""
