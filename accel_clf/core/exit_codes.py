"""Exit codes of all commands; NOT_MET is that of a comparison whose requirements do not all hold."""

DONE, FAILED, USAGE, NOT_MET, DATA, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 65, 130, 143
