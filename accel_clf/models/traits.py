"""What is particular about a kind of model, by the `model_type` in its config.json; tests/families tries them all."""

from typing import Any

from torch import nn

# Their heads read the hidden state of a row's last end-of-sequence token, and want as many of these in each row.
COUNTS_EOS = {"bart", "bigbird_pegasus", "mbart", "mt5", "mvp", "plbart", "t5", "umt5"}

# A row's outputs depend on the padding beside it, whatever the attention mask says: by what mixes all positions (fnet),
# pools them (funnel), attends to landmarks or blocks of them, or counts positions from the right (xlnet).
READS_PADDING = {"canine", "fnet", "funnel", "t5gemma", "t5gemma2", "xlnet", "yoso"}

# They need as many tokens; shorter rows are padded.
SHORTEST_ROW = {"canine": 4, "funnel": 5}

# Their own code mixes 32 and 16 bits in ways that torch refuses.
ONLY_FP32 = {"deberta", "xmod"}

# Single texts, too, have token types that matter: that of the token which the head reads is another.
TYPES_OF_SINGLE_TEXTS = {"funnel", "xlnet"}

# Their positions end, though in no table of embeddings: model_type -> the key in config.json that says where.
LIMITS_WITHOUT_A_TABLE = {"ctrl": "n_positions", "gptj": "max_position_embeddings", "mpt": "max_seq_len"}

# What makes a kind of model fail on texts that a tiny batch does not show.
REFUSED = {"reformer": "in training it takes rows of one length only, the product of axial_pos_shape in config.json"}


def model_type(model: nn.Module) -> str:
    """Return a model's `model_type`."""
    config: Any = model.config
    return str(config.model_type)
