"""The folder of a run or a cross-validation.

layout       what lies where, and how it is read back
compat       which settings may change when a run resumes
environment  what a run runs on: command, device, versions
lock         one run a folder
predictions  predictions as tables, read back bit for bit
"""
