"""Results as a person reads them.

text       metrics as a few small tables
summary    what `train`, `cv` and `evaluate` print at their end
languages  which languages texts are in
data       what a data set is like, before anything is trained on it
data_text  what `doctor --data` prints
page       a page in one HTML file
charts     charts for pages, by matplotlib
paired     statistics of models that have answered the same rows
weighted_metrics metrics of many resamples at once
run_rows   the labelled rows that runs have answered
same_rows  the rows that several runs have all answered
differences how a run differs from the baseline, as values
comparison compare runs by metric, label and slice
requirements what must hold of a run beside the baseline
row_differences the rows for which two models have different answers
compare_report all that `compare` says, and its JSON
compare_text what `compare` prints
compare_page its page
"""
