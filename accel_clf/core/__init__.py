"""The foundation of all other packages. Knows no setting, no model and no data.

exit_codes   the exit codes of all commands
process_env  the role of this process in a distributed job, read from the environment
memory       memory that the C library keeps for later, returned to the operating system
chunks       a stream in parts
errors       the tree of errors; each says what was got, what was expected and what to do
console      log lines, progress bars and tables, on a terminal or in a log file
files        files and folders that appear once they are complete, or not at all
cache        the cache folder for tokens
signals      SIGTERM and SIGINT: the first asks a run to save and stop, the second ends it at once
hub_errors   errors of the Hugging Face Hub, explained in one line
command      run a command: whatever ends it becomes an exit code and one screen of text
"""
