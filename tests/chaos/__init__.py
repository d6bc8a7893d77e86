"""Real processes, killed at random times: each promise must hold."""
