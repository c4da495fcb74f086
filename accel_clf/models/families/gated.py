"""Encoders and decoders of today's form: ModernBERT (and mmBERT, which is one), EuroBERT, Llama and Qwen3."""

from typing import Any

from torch import nn

from accel_clf.models.families.base import GatedFamily, GatedLayer, Pooling


class ModernBert(GatedFamily):
    def parts(self, layer: Any) -> GatedLayer:
        attention, feed_forward = layer.attn, layer.mlp
        heads = attention.config.num_attention_heads
        return GatedLayer(
            attention_norm=layer.attn_norm,
            projections=(attention.Wqkv,),
            query_norm=None,
            key_norm=None,
            heads=heads,
            key_heads=heads,
            scaling=attention.head_dim**-0.5,
            reach=_reach(attention.sliding_window),
            is_causal=False,
            attention_dropout=attention.attention_dropout,
            out=attention.Wo,
            out_dropout=attention.out_drop,
            norm=layer.mlp_norm,
            up=(feed_forward.Wi,),
            activation=feed_forward.act,
            dropout=feed_forward.drop,
            down=feed_forward.Wo,
        )

    def final_norm(self, model: nn.Module) -> nn.Module:
        base: Any = model.base_model
        norm: nn.Module = base.final_norm
        return norm

    def pooling(self, config: Any) -> Pooling:
        return Pooling.FIRST if config.classifier_pooling == "cls" else Pooling.MEAN


class Llama(GatedFamily):
    """Llama; Qwen3 has norms of queries and keys besides, and may have windows. The last token is classified."""

    is_causal = True

    def parts(self, layer: Any) -> GatedLayer:
        attention, feed_forward = layer.self_attn, layer.mlp
        return GatedLayer(
            attention_norm=layer.input_layernorm,
            projections=(attention.q_proj, attention.k_proj, attention.v_proj),
            query_norm=getattr(attention, "q_norm", None),
            key_norm=getattr(attention, "k_norm", None),
            heads=attention.config.num_attention_heads,
            key_heads=attention.config.num_key_value_heads,
            scaling=attention.scaling,
            reach=_reach(getattr(attention, "sliding_window", None)),
            # As transformers' masks have it: a configuration can make a decoder see all of a text.
            is_causal=self.is_causal and getattr(attention.config, "is_causal", True) is not False,
            attention_dropout=attention.attention_dropout,
            out=attention.o_proj,
            out_dropout=None,
            norm=layer.post_attention_layernorm,
            up=(feed_forward.gate_proj, feed_forward.up_proj),
            activation=feed_forward.act_fn,
            dropout=None,
            down=feed_forward.down_proj,
        )

    def final_norm(self, model: nn.Module) -> nn.Module:
        base: Any = model.base_model
        norm: nn.Module = base.norm
        return norm

    def pooling(self, config: Any) -> Pooling:
        return Pooling.LAST


class EuroBert(Llama):
    """EuroBERT: Llama's layers, in which each token sees all of its text."""

    is_causal = False

    def pooling(self, config: Any) -> Pooling:
        poolings = {"bos": Pooling.FIRST, "mean": Pooling.MEAN, "late": Pooling.ACTIVATED_MEAN}
        return poolings[config.classifier_pooling]


def _reach(sliding_window: int | None) -> int | None:
    """Return how far a token sees, of what transformers calls the window: the token itself and its reach."""
    return None if sliding_window is None else sliding_window - 1
