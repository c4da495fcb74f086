"""Results as a person reads them.

text       metrics as a few small tables
summary    what `train`, `cv` and `evaluate` print at their end
languages  which languages texts are in
data       what a data set is like, before anything is trained on it
data_text  what `doctor --data` prints
intervals  95% intervals
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
