"""A run for each fold, and what they say together.

folds      all rows, tokenized once, and which fold holds each out
lock       whose the folder is, and which folds are finished
aggregate  out-of-fold metrics, temperature, suspect labels, ensemble
run        folds to runs, one after another or each on its own machine
"""
