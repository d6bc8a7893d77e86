"""The demo shop: a small real site to send participants to. Nothing in it is for sale."""
