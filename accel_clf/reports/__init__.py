"""Results as a person reads them.

text     metrics as a few small tables
summary  what `train`, `cv` and `evaluate` print at their end
"""
