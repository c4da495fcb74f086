"""Strict readers of local files, record by record: each with its place, so that errors in it can be located.

Nothing is guessed: fields stay as written ("NA" and "01", too), and whatever does not fit is an error with file and
line, which says what the file looks like and which setting that is.

records       what readers are asked for and give; columns, and names inside of nested values
containers    the bytes and characters of a file: as it is, gzipped, or the only file of a zip archive
guesses       what a file looks like that does not fit the settings, for messages
delimited     CSV and TSV
json_files    JSON Lines, and a JSON array, streamed; exports of annotation tools
parquet       Parquet
sheets        Excel workbooks
texts         a text a line, and folders of text files named after their labels
files         the reader that a path gets
"""
