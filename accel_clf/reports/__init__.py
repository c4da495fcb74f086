"""Results as a person reads them.

text       metrics as a few small tables
summary    what `train`, `cv` and `evaluate` print at their end
languages  which languages texts are in
data       what a data set is like, before anything is trained on it
data_text  what `doctor --data` prints
page       a page in one HTML file
charts     charts for pages, by matplotlib
intervals  95% intervals
figures    figures as a report shows them
evidence   what the folder of a run or a cross-validation says, finished or not
curves     learning curves
classes    which labels are taken for which; each label and each slice
confidence reliability, coverage, thresholds, residuals
rows       rows worth a look
overview   what a run comes to, its data, and what it was made with
report     the report of a run or a cross-validation
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
progress   a run or a cross-validation in progress, as its folder has it
braille    curves of dots, for terminals
pictures   what `watch` shows of a run: curves, rate, memory, time left, evaluations
watch      the same while it trains
markdown   words from data, in Markdown
card_intervals 95% intervals, by what a run has kept
card_facts what a model card tells of a run, read from its folder
card_metadata the metadata of a model card, and what the Hub takes of it
card_usage how a pushed model is used
card_limits where a model fails, as its numbers say
model_card the card
hub_package the files of a repository that holds a run
push       pushes them to the Hub
"""
