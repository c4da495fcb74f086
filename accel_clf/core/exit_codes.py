"""Exit codes of all commands."""

DONE, FAILED, USAGE, DATA, INTERRUPTED, TERMINATED = 0, 1, 2, 65, 130, 143
