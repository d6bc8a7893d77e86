"""The process that delivers webhooks: `understudy webhooks`."""
