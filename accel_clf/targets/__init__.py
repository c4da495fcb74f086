"""What is predicted: scores, metrics and calibration.

scores       logits to probabilities
metrics      classification metrics, as a declared type
calibration  the temperature, and the expected calibration error
"""
