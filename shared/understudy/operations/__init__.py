"""Request models of all operations, and the messages for invalid requests."""
