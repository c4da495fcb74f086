"""Results as a person reads them.

text     metrics as a few small tables
summary  what `train` and `cv` print at their end
"""
