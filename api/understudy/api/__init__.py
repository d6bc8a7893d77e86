"""The facade: one service and its doors (REST, Python client, command line)."""
