"""What callers may ask for: the models of requests, and how a wrong one is described."""
