"""What api and worker agree on: rules, store, envelopes, queues, settings and notices."""
