"""How stores find rows: one of any size, what is asked of it all the time, and what it reads for that."""
