"""The settings of the encoder, and what every section of settings is."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from accel_clf.config.values import Count


class Section(BaseModel):
    """A section of settings: immutable, without unknown keys; the string below a setting is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class LoraConfig(Section):
    """Low-rank adapters (LoRA): what is trained in place of the encoder's weights."""

    rank: Count | None = None
    """Rank of the adapters; null: none, and the encoder's weights are trained."""
    alpha: Annotated[float, Field(gt=0)] = 16
    """Adapters' outputs are scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout of adapters' inputs; with it, batches cannot be packed."""
    modules: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names, or their ends, of the encoder's linear layers that get an adapter: query, value. null: all linear layers
    of the encoder's layers. Never the head's, which is trained itself."""


class ModelConfig(Section):
    """The encoder."""

    name: str = "bert-base-uncased"
    """Hub id or local folder of the encoder; "demo" is a tiny built-in one, trained from scratch."""
    revision: str | None = None
    """Revision of the model on the Hub: a branch, a tag or a commit; null: the newest."""
    tokenizer: str | None = None
    """Hub id or local folder of the tokenizer; null: the model's own."""
    allow_code: bool = False
    """Run Python code from the model's repository (trust_remote_code)."""
    allow_pickle: bool = False
    """Load weights that exist only as pickle, a format that can execute code."""
    kernels: Literal["auto", "off"] = "auto"
    """Faster forms of the model's operations where they pay; off: transformers' own code, padded."""
    freeze: Literal["embeddings"] | Count | None = None
    """Keep the embeddings as they are, or the embeddings and so many of the lowest layers."""
    lora: LoraConfig = LoraConfig()
    gradient_checkpointing: bool = False
    """Compute layers again in the backward pass instead of keeping what they computed: less memory, more time, the same
    result. Not on XLA."""

    @model_validator(mode="after")
    def _check_frozen(self) -> Self:
        if self.lora.rank is not None and self.freeze is not None:
            raise ValueError("model.freeze and model.lora.rank exclude each other: LoRA freezes the whole encoder")
        if self.lora.rank is not None and self.name == "demo":
            raise ValueError("model.lora.rank is for a pretrained encoder, and the demo's is trained from scratch")
        return self
