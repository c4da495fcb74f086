"""A tiny model of any kind of sequence classifier that transformers has, with a tokenizer of its kind."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CanineTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

FAMILIES = tuple(sorted(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES))
POSITIONS = 66
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BOS, PAD, EOS = 0, 1, 2
WORDS = ("good", "fine", "great", "bad", "awful", "dull", "film", "plot", "the", "a", "was", "and", "not")
VOCABULARY = (*SPECIAL, *WORDS, *(f"w{number}" for number in range(60)))

# Every configuration's own names of a few sizes.
SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY), "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS,
    "sep_token_id": EOS, "cls_token_id": BOS, "mask_token_id": 4, "decoder_start_token_id": EOS,
    "forced_eos_token_id": None, "image_token_id": 4, "image_token_index": 4, "video_token_id": 4,
    "vision_start_token_id": 4, "vision_end_token_id": 4, "boi_token_index": 4, "eoi_token_index": 4,
    "max_position_embeddings": POSITIONS, "n_positions": POSITIONS, "max_seq_len": POSITIONS,
    "original_max_position_embeddings": POSITIONS,
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("input_embedding_size", "output_embedding_size", "prediction_head_size", "d_latents"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    "num_decoder_layers": 1,
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_key_value_heads", "num_kv_heads", "index_n_heads"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_inner", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("dff", "hidden_dim", "n_inner", "moe_intermediate_size", "feed_forward_size"), 64),
    **dict.fromkeys(("shared_expert_intermediate_size", "expert_ffn_size", "ffn_hidden_size"), 64),
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "attention_head_size", "kv_channels", "index_head_dim"), 8),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "adapter_rank", "gated_norm_rank"), 8),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "top_k_experts", "moe_topk"), 2), "n_group": 1, "topk_group": 1,
    "query_pre_attn_scalar": 8, "sliding_window": 8, "attention_window": 8, "window_size": 8,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
}  # fmt: skip
# What the names above do not say.
VISION = {"image_size": 16, "patch_size": 8}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
T5 = {"decoder_start_token_id": PAD}
MIXED_LAYERS = {"layer_types": ["linear_attention", "full_attention"]}
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "big_bird": {"block_size": 4, "num_random_blocks": 1},
    "bigbird_pegasus": {"block_size": 4, "num_random_blocks": 1},
    "cohere_compass_text": {"rope_parameters": dict.fromkeys(("sliding_attention", "full_attention"), ROPE)},
    "gemma3": {"vision_config": VISION, "mm_tokens_per_image": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, **VISION},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 32},
    "markuplm": {"max_depth": 5, "max_xpath_subs_unit_embeddings": 1002},
    "modernvbert": {"vision_config": VISION},
    "mt5": T5,
    "qwen2": {"vocab_size": 300},
    "qwen3_5": {"text_config": MIXED_LAYERS, "vision_config": VISION},
    "qwen3_5_text": MIXED_LAYERS,
    "qwen3_next": MIXED_LAYERS,
    "reformer": {"axial_pos_embds_dim": (16, 16), "axial_pos_shape": (8, 8), "max_position_embeddings": 64},
    "roc_bert": {"pronunciation_vocab_size": 10, "shape_vocab_size": 10},
    "t5": T5,
    "t5gemma2": {"encoder": {"vision_config": VISION, "mm_tokens_per_image": 4}},
    "ultravbert": {"vision_config": VISION},
    "umt5": T5,
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
}


def make_config(family: str) -> Any:
    """Make a tiny configuration of a kind of model, with all sizes that its class names as SIZES has them."""
    return _tiny(CONFIG_MAPPING[family], EXCEPTIONS.get(family, {}))


def _tiny(config_class: Any, exceptions: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(config_class)} | set(config_class.attribute_map)
    values = {name: value for name, value in SIZES.items() if name in names}
    kinds = {part: kind.model_type for part, kind in getattr(config_class, "sub_configs_defaults", {}).items()}
    parts = {
        part: CONFIG_MAPPING[kind] if kind in CONFIG_MAPPING else config_class.sub_configs[part]
        for part, kind in kinds.items()
    }
    values |= {part: _tiny(part_class, exceptions.get(part, {})).to_dict() for part, part_class in parts.items()}
    exceptions = {name: value for name, value in exceptions.items() if name not in parts}
    return config_class(**values | exceptions)


def make_tokenizer(family: str) -> Any:
    """Make a tokenizer that adds special tokens as that kind's own does: around a text, behind it, or none."""
    if family == "canine":
        return CanineTokenizer()
    if family == "qwen2":  # transformers reads any qwen2's files as this one's
        letters = [*bytes_to_unicode().values()]
        return Qwen2Tokenizer(
            vocab={letter: code for code, letter in enumerate([*SPECIAL, *letters])},
            merges=[],
            eos_token="</s>",
            unk_token=None,
            pad_token=None,
            bos_token=None,
        )
    words = Tokenizer(models.WordLevel({word: code for code, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends, options = [("<s>", BOS), ("</s>", EOS)], {"pad_token": "<pad>"}
    names = ["input_ids", "attention_mask"]
    if family == "xlnet":
        template, options["padding_side"] = "$A:0 </s>:0 <s>:2", "left"
        names.insert(1, "token_type_ids")
    elif family == "funnel":
        template = "<s>:2 $A:0 </s>:0"
        names.insert(1, "token_type_ids")
    elif "t5" in family:
        template = "$A </s>"
    elif is_decoder(family):
        template, options = None, {}
    else:
        template = "<s> $A </s>"
    if template:
        pair = f"{template} </s> $B:1 </s>"
        words.post_processor = processors.TemplateProcessing(single=template, pair=pair, special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_input_names=names, **options
    )


def is_decoder(family: str) -> bool:
    """Whether a kind of model is a decoder, whose tokenizers rarely add tokens or know padding."""
    model_class = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[CONFIG_MAPPING[family]]

    return "last_non_pad_token" in inspect.getsource(model_class.forward)


def make_model(family: str, folder: Path) -> Path:
    """Write a tiny model with random weights and its tokenizer in the Hub's format."""
    config = make_config(family)
    torch.manual_seed(0)
    model = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)](config)
    model.save_pretrained(folder)
    make_tokenizer(family).save_pretrained(folder)
    return folder
