"""accel_clf: fine-tune any Hugging Face encoder into a text classifier, on whatever hardware is there, and serve it.

Packages, in the order in which a row travels; each imports only from those above it:

core              what everything else stands on
config            settings: declared once, read from YAML and flags
targets           what is predicted: scores, metrics and calibration
data              rows: read, placed, tokenized, batched
run_folder        the folder of a run or a cross-validation
models            encoders with a classification head: loaded, saved, and made fast
strategies        what drives the hardware
inference         trained models: logits, evaluation, prediction
training          one run, from settings to a run folder
cross_validation  a run for each fold, and what they say together
reports           results as a person reads them
serving           a run over HTTP
cli               the command line
train             what `accelerate launch` starts
cv                the same for a cross-validation
evaluate_module   the metrics as a module of the `evaluate` library
"""

__version__ = "0.1.0"
