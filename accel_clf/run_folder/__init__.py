"""The folder of a run or a cross-validation.

shapes       what is read of its JSON files
checked      these files, read: a damaged one is an error that names it
layout       the names of its files, and how settings are read back
compat       which settings may change when a run is resumed
environment  what a run runs on: command, device, versions
lock         one run per folder
predictions  the predictions for labelled rows that a run keeps, which are read back bit for bit
examples     which rows a report opens, and their texts
answers      these predictions, read without the model
answer_tables tables of other texts' answers, with the columns that the texts came with
"""
