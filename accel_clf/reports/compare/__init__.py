"""Runs that have answered the same rows, compared.

paired            statistics of models that have answered the same rows
weighted_metrics  metrics of many resamples at once
run_rows          the labelled rows that runs have answered
same_rows         the rows that several runs have all answered
differences       how a run differs from the baseline, as values
comparison        compare runs by metric, label and slice
requirements      what must hold of a run beside the baseline
row_differences   the rows for which two models have different answers
report            all that `compare` says, and its JSON
text              what `compare` prints
page              its page
"""
