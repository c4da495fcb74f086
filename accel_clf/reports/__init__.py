"""Results as a person reads them.

names      names of labels and slices as they are shown
text       metrics as a few small tables
summary    what `train`, `cv` and `evaluate` print at their end
languages  which languages texts are in
data       what a data set is like, before anything is trained on it
data_text  what `doctor DATA` prints
intervals  95% intervals
page       a page in one HTML file
output     where a page may be written
charts     charts for pages, by matplotlib
html       the report of a run or a cross-validation: `report`, `train --report`, the server's /report
compare    runs that have answered the same rows, compared
watch      a run or a cross-validation while it trains, in a terminal
hub        a run on the Hub, with a model card by its numbers
"""
