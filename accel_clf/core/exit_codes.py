"""Exit codes of every command."""

DONE, FAILED, USAGE, DATA, INTERRUPTED, TERMINATED = 0, 1, 2, 65, 130, 143
