"""What callers get, one file per resource."""
