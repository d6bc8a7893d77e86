"""Starts the components together: composition root, supervisor of one machine, and migrations."""
