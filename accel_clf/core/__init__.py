"""What everything else stands on; knows no setting, no model and no row.

exit_codes   what every command's exit code means
process_env  what this process is among those of a job, as the environment tells
errors       what was got, what was expected, what to do: the tree of errors
console      log lines, progress bars and tables on a terminal or in a log
files        files and folders that appear when they are complete, or not at all
cache        where tokens and compiled graphs are kept between runs
signals      SIGTERM and SIGINT: the first asks a run to save and stop, the second ends it
hub_errors   what the Hugging Face Hub refuses, in one line
command      run a command: whatever ends it becomes an exit code and one screen
"""
