"""Response envelopes, one file per resource."""
