"""How the encoders are built that have kernels here: one record per family.

In import order:

base         what a record says: layers, their projections, what follows attention
bert         BERT, and those whose layers are built like its
distilbert   DistilBERT
registry     which `model_type` has which record, and how a model's layers are found without one

To add a family whose layers are built like BERT's, add its `model_type` (of its config.json) to FAMILIES; for others
write a subclass of Family in a file of its own. tests/models/test_packed.py then checks the kernels against
transformers' own code.
"""
