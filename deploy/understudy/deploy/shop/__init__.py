"""The demo shop: a small real site for participants. It sells nothing."""
