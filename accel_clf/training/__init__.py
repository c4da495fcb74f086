"""One run, from settings to a run folder.

optim          AdamW's groups; the learning rate as a function of the step
state          how far a run has come
batches        the rows of each optimizer step
step_sync      periodic all-reduce of losses, stop signals and the checkpoint timer
between_steps  logging, evaluation, early stopping, checkpoints: each knows whether it is due
loop           THE loop: fit() is the schedule, train_step() the arithmetic
checkpoint     a run's state on disk: atomic, verified, exact
prepare        rows, tokenizer, tokens and weights: made once, before any core starts
data_facts     what a run's rows are like: rows.json
linear_probe   the head begins as a linear model of what it reads
precompile     which graphs a compiler will make for a run
resume         where a run begins: from which checkpoint, and whether it is of the same run
shared_folder  whether all machines of a job see the same output folder
saved_model    the best model in its folder: written, fitted to the validation rows, evaluated
baseline       what words alone give: TF-IDF with a linear model
trainer        a run in progress
run            one run, from settings to a run folder
parity         the same steps on all hardware paths, compared
"""
