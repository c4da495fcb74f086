"""Results as a person reads them.

text       metrics as a few small tables
summary    what `train`, `cv` and `evaluate` print at their end
languages  which languages texts are in
data       what a data set is like, before anything is trained on it
data_text  what `doctor --data` prints
progress   a run or a cross-validation in progress, as its folder has it
curves     curves of dots, for terminals
pictures   what `watch` shows of a run: curves, rate, memory, time left, evaluations
watch      the same while it trains
"""
