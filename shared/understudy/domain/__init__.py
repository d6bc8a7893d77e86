"""The rules of Understudy in plain Python: no I/O, no clock, no randomness; standard library only."""
