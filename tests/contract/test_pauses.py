"""A paused study, and limits of participants that run at once: they delay, and every answer says so."""
