"""Plug-ins: the registry, and what the system passes to them."""
