"""What is predicted: how labels are encoded, learned, scored, decided and measured.

scores         logits to probabilities
calibration    the temperature, and the expected calibration error
abstention     which answers are given, and sets of labels, both with a guarantee
named_metrics  metrics that a run may ask for by name
metrics        classification metrics, as a declared type
base           what a kind of target must do
cross_entropy  the losses of one label a text
single_label   one label a text
"""
