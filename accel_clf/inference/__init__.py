"""Trained models: logits, evaluation, prediction.

failures     texts that a model fails on, told from those beside them
forward      every row through the model exactly once
evaluate     what scores are worth against labels
quantize     fewer bytes for each matrix product
at_risk      a target that abstains, by rows that a run has kept
shared_base  folds with LoRA: one model in memory, and an adapter and a head for each
predictor    a run, or all folds of a cross-validation, as a function from texts to scores
bulk         whole files and data sets: evaluated, predicted
"""
