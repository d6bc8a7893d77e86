"""Runs simulations. A `process` has one `runner`, an event loop for all its runs; a `run` claims one participant and
commits its `steps`. `heartbeat`, `watchdog`, `shutdown` and the `sweeper` handle losses."""
