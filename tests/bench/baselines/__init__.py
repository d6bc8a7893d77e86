"""Programs around other libraries, run in an environment of their own (build/bench); each prints JSON."""
