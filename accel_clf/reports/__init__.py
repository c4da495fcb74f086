"""Results as a person reads them.

text       metrics as a few small tables
summary    what `train`, `cv` and `evaluate` print at their end
languages  which languages texts are in
data       what a data set is like, before anything is trained on it
data_text  what `doctor --data` prints
page       a page in one HTML file
charts     charts for pages, by matplotlib
"""
