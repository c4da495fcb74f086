"""How the encoders are built that have kernels here: one record per family.

In import order:

base         what a record says: layers, their projections, what follows attention, and terms of relative positions
albert       ALBERT
bert         BERT, and those whose layers are built like its
deberta      DeBERTa-v2 and v3
distilbert   DistilBERT
mpnet        MPNet
registry     which `model_type` has which record, and how a model's layers are found without one

To add a family whose layers are built like BERT's, add its `model_type` (of its config.json) to FAMILIES; for others
write a subclass of Family in a file of its own, or of RelativeFamily where scores go by relative positions. Then
tests/models/test_packed.py checks the kernels against transformers' own code.
"""
