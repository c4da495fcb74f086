"""The folder of a run or a cross-validation.

layout       the names of its files, and how settings are read back
compat       which settings may change when a run is resumed
environment  what a run runs on: command, device, versions
lock         one run per folder
predictions  predictions as tables, which are read back bit for bit
"""
