"""Real processes, killed for real: what was promised must hold whatever dies and whenever."""
