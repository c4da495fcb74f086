"""How the encoders are built that have kernels here: one record per family.

In import order:

base         what a record says: layers and their parts, which tokens a head reads
albert       ALBERT
bert         BERT, and those whose layers are built like its
deberta      DeBERTa-v2 and v3
distilbert   DistilBERT
gated        ModernBERT, EuroBERT, Llama and Qwen3: prenorm layers with rotary positions and a gated feed-forward
mpnet        MPNet
registry     which `model_type` has which record, and how a model's layers are found without one

To add a family whose layers are built like a known one's, add its `model_type` (of its config.json) to FAMILIES; for
others write a subclass of PostNormFamily (norms as in BERT), RelativeFamily (and attention by relative positions) or
GatedFamily (norms as in Llama) in a file of its own. Other kinds of layers need a subclass of Family, and kernels of
their own, which packed.py chooses by it.
tests/models/test_packed.py then checks the kernels against transformers' own code.
"""
