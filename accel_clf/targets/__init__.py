"""What is predicted: how labels are encoded, learned, scored, decided and measured.

scores        logits to probabilities
metrics       classification metrics, as a declared type
calibration   the temperature, and the expected calibration error
base          what a kind of target must do
single_label  one label a text
"""
