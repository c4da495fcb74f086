"""A run for each fold, and what they say together.

assignment which fold holds each row out: dealt out at random, or given by a column
folds      all rows, tokenized once, and the runs that share them
lock       whose the folder is, and which folds are finished
aggregate  out-of-fold metrics, temperature, suspect labels, ensemble
run        folds to runs, one after another or each on its own machine
"""
