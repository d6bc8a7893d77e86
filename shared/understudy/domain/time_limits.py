"""The bounds of time limits that requests and settings share."""

#: Maximum step timeout and run timeout of an iteration or ask, in seconds. Settings may lower them.
MAX_STEP_TIMEOUT_S = 3_600
MAX_RUN_TIMEOUT_S = 86_400
