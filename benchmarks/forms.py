"""Encoders of several families in MiniLM's size, with random weights, which suffice to measure speed.

python -m benchmarks.forms FORM TOKENIZER FOLDER

writes one, with the tokenizer of another model (a folder or an id), as benchmarks.training --form does by itself; a run
of it is what benchmarks.prediction takes. All have 6 layers of 384 columns, 12 heads and a feed-forward of 1,536.
"""

import sys
from pathlib import Path
from typing import Any

SIZE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
FORMS: dict[str, dict[str, Any]] = {
    "albert": {"model_type": "albert", "embedding_size": 128},
    "bert": {"model_type": "bert"},
    "deberta-v3": {
        "model_type": "deberta-v2", "relative_attention": True, "position_buckets": 256, "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "position_biased_input": False,
        "max_relative_positions": -1, "type_vocab_size": 0,
    },
    "eurobert": {"model_type": "eurobert"},
    "llama": {"model_type": "llama", "num_key_value_heads": 4},
    "modernbert": {"model_type": "modernbert"},
    "mpnet": {"model_type": "mpnet"},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 4, "head_dim": 32},
}  # fmt: skip


def make_form(form: str, tokenizer: str, folder: Path) -> str:
    """Write an encoder of a form and another model's tokenizer; return the folder."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    special = {
        "pad_token_id": loaded.pad_token_id,
        "bos_token_id": loaded.cls_token_id,
        "cls_token_id": loaded.cls_token_id,
        "eos_token_id": loaded.sep_token_id,
        "sep_token_id": loaded.sep_token_id,
        "mask_token_id": loaded.mask_token_id,
    }
    return make_random_model(FORMS[form] | SIZE | special | {"vocab_size": len(loaded)}, tokenizer, folder)


def make_random_model(shape: dict[str, Any], tokenizer: str, folder: Path) -> str:
    """Write a model with random weights, and another model's tokenizer; return the folder."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    config = AutoConfig.for_model(**shape)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    form, tokenizer, folder = sys.argv[1:]
    print(make_form(form, tokenizer, Path(folder)))
