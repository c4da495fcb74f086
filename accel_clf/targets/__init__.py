"""What is predicted: how labels are encoded, learned, scored, decided and measured.

scores           logits to probabilities
label_names      the labels in a column: their order, what is said of one that is not among them, or rare
label_cells      how the labels of a text that may have several are written
calibration      the temperature, and the expected calibration error
metrics          the metrics of a set of rows, as declared types
named_metrics    metrics of classes that a run may ask for by name
classification   the metrics of classes
modules          metrics of the `evaluate` library
settings_checks  settings that a kind has no use for
objective        what a model is trained towards
base             what a kind of target must do
cross_entropy    the losses of one label a text
binary_losses    the losses of several labels, of an order, and of numbers
one_label        what targets have in common whose texts have one label each
single_label     one label a text
abstention       which answers are given, and sets of labels, both with a guarantee
abstaining       one label a text, or none where the risk is too high
multi_label      any number of labels a text
ordinal          one label of an order
regression       a number
few_rows         what is said where there are few rows for each label
registry         which kind a data set or a model has
fitting          what is fitted to rows that were not learned from: temperature and thresholds
"""
