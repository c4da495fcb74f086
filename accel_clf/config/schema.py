"""Every setting, once: YAML keys, flags, `--help`, defaults, checks and the README's table come from here."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _number_if_it_is_one(value: object) -> object:
    """Flags arrive as text: `--data.validation 0.2` is a share, `--data.validation dev.csv` a file."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _share(value: float | str) -> float | str:
    if isinstance(value, float) and not 0 < value < 1:
        raise ValueError("a share lies between 0 and 1; null for no validation")
    return value


def _steps_or_minutes(value: object) -> object:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", str(value))
    if not found or not float(found[1]) or ("." in found[1] and not found[2]):
        raise ValueError("so many steps (500), or minutes (10m)")
    return str(value) if found[2] else int(found[1])


StepsOrMinutes = Annotated[int | str, BeforeValidator(_steps_or_minutes)]


ShareOrSource = Annotated[float | str, BeforeValidator(_number_if_it_is_one), AfterValidator(_share)]


Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, protected_namespaces=()
    )


class ModelConfig(Section):
    """The encoder."""

    name: str = "bert-base-uncased"
    """Hub id or local folder; "demo" is the tiny built-in encoder, trained from scratch."""
    allow_code: bool = False
    """Run Python code that the model's repository brings along."""
    allow_pickle: bool = False
    """Load weights that exist only as pickle, a format that can run code."""
    kernels: Literal["auto", "off"] = "auto"
    """Faster forms of the model's operations, where they pay; off: transformers' own code, padded."""


class DataConfig(Section):
    """The rows."""

    train: str = "demo"
    """"demo", a file (.csv .tsv .jsonl .parquet, .gz too), or a Hub data set's id or local folder."""
    validation: ShareOrSource | None = 0.1
    """A share of the training rows, a file, or a split of the Hub data set; null for none."""
    test: str | None = None
    """A file or a split, measured once, at the end."""
    config: str | None = None
    """The Hub data set's configuration, where it has several."""
    split: str = "train"
    """The Hub data set's split to train on."""
    text: str = "text"
    """The column with the text."""
    label: str = "label"
    """The column with the label."""
    group: str | None = None
    """A column; rows of one group never part company across splits and folds."""
    slice: str | None = None
    """A column (a language, say) to report metrics by."""
    max_length: Annotated[int, Field(ge=3)] = 256
    """Tokens a text may have; what is longer is cut."""
    limit: Annotated[int, Field(ge=2)] | None = None
    """At most so many training rows, validation's share included; drawn by the seed, classes in proportion."""


class BatchConfig(Section):
    """Which rows meet in a step."""

    size: Count = 16
    """Rows a process and micro-batch."""
    accumulate: Count = 1
    """Micro-batches an optimizer step."""
    layout: Literal["auto", "padded", "bucketed", "packed"] = "auto"
    """padded to the longest row of the batch; bucketed to one of few widths, for compilers; packed: one row after
    another, no padding, where the encoder is of BERT's family; auto: by device and encoder."""
    order: Literal["random", "length"] = "random"
    """length: rows of similar length meet in a step, so that less of a padded or bucketed batch is padding."""

    @property
    def evaluation_size(self) -> int:
        """Rows a process and batch of an evaluation: without gradients there is room for more."""
        return 4 * self.size

    def rows_per_step(self, processes: int) -> int:
        """Rows of an optimizer step on all processes."""
        return self.size * self.accumulate * processes


class TrainingConfig(Section):
    """The loop."""

    epochs: Count = 1
    """Passes over the training rows."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """The peak rate, before lr_scaling."""
    lr_scaling: Literal["linear", "sqrt", "none"] = "linear"
    """What the rate is multiplied by: the number of processes, its square root, or nothing."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after the warm-up: to zero along a line or a cosine, or not at all."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of all steps over which the rate rises from zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decay; biases and norms have none."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Longer gradients are shortened to this norm; null for never."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """The precision of matrix products; weights stay fp32. auto: by device."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides the split, the order, the new head's weights and dropout."""
    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Minutes to wait for a process that does not answer, before the job ends; not on XLA."""


class CheckpointConfig(Section):
    """Saving a run's state, so that it can be interrupted anywhere and go on."""

    every: StepsOrMinutes = "10m"
    """So many optimizer steps, or minutes ("10m"). The best model's, the last and that of a signal come on top."""
    keep: Count = 2
    """How many stay, the newest ones; the best model's stays, too."""

    @property
    def steps(self) -> float:
        """Steps between checkpoints; infinite where minutes count."""
        return self.every if isinstance(self.every, int) else math.inf

    @property
    def minutes(self) -> float:
        """Minutes between checkpoints; infinite where steps count."""
        return math.inf if isinstance(self.every, int) else float(self.every.removesuffix("m"))


METRICS = ("accuracy", "macro_f1", "weighted_f1", "log_loss")


class EvaluationConfig(Section):
    """What is measured on validation and test rows, and when."""

    every: Literal["epoch"] | Count = "epoch"
    """"epoch", or so many optimizer steps."""
    metric: str = "accuracy"
    """What the best model is best by: accuracy, macro_f1, weighted_f1, log_loss, or one of `metrics`."""
    metrics: tuple[str, ...] = ()
    """Further metrics of the `evaluate` library, by name or path."""
    patience: Count | None = None
    """Stop after so many evaluations without a better one; null: never."""
    baseline: bool = False
    """Also fit TF-IDF with logistic regression on the same rows, to show what words alone give."""

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Self:
        if self.metric not in (*METRICS, *self.metrics):
            raise ValueError(f"evaluation.metric {self.metric!r} is neither {', '.join(METRICS)} nor in metrics")
        return self


# What the tiny encoder, which starts from nothing, needs in place of fine-tuning's defaults.
DEMO: dict[str, dict[str, Any]] = {
    "data": {"max_length": 64},
    "batch": {"size": 32},
    "training": {"epochs": 6, "learning_rate": 2e-3, "lr_scaling": "none", "precision": "fp32"},
    "evaluation": {"baseline": True},
}


class Config(Section):
    """A whole run. With neither model nor data named, it is the demo."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    batch: BatchConfig = BatchConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    folds: Annotated[int, Field(ge=2)] = 5
    """Parts of a cross-validation, each of which is held out once; of no meaning to `train`."""
    strategy: Literal["accelerate", "xla"] = "accelerate"
    """What drives the hardware: Hugging Face Accelerate, or raw torch_xla on a TPU's cores (or virtual ones)."""
    virtual_cores: Count | None = None
    """Train on so many virtual XLA cores of the CPU, to test a TPU job without a TPU; null for the real hardware."""
    output: str = ""
    """The run folder; when left out, runs/ and the name of the training data, with -cv for a cross-validation."""
    resume: str = "auto"
    """"auto" goes on with what the run folder holds, "never" sets that aside; or a checkpoint to go on from."""
    allow_changes: bool = False
    """Go on although settings or data that change the result have changed."""

    @model_validator(mode="before")
    @classmethod
    def _demo_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not all(isinstance(v, Mapping) for k, v in given.items() if k in DEMO):
            return given  # pydantic says what is wrong with it
        train = given.get("data", {}).get("train", "demo")
        model = given.get("model", {})
        if train == "demo" and isinstance(model, Mapping) and "name" not in model:
            given = merge(given, {"model": {"name": "demo"}})
        if isinstance(given.get("model"), Mapping) and given["model"].get("name") == "demo":
            given = merge(DEMO, given)
        return given


class ServeConfig(Section):
    """The server. The key that clients must have, if any, is in the environment: ACCEL_CLF_API_KEY."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all of this machine's."""
    port: Annotated[int, Field(ge=0, lt=2**16)] = 8000
    """The port to listen on; 0 for any that is free."""
    names: tuple[str, ...] = ()
    """Names that a request's Host may have; with none given, this machine's own when it listens to itself only."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """The precision of matrix products; auto: bf16 where the hardware is fast at it. int8 needs `check`."""
    check: str | None = None
    """A file with labelled rows, on which int8 must be as accurate as fp32."""
    max_loss: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Accuracy that int8 may lose on the rows of `check`."""
    threads: Count | None = None
    """CPU threads that compute; null: one a core."""
    batch_tokens: Count | None = None
    """Tokens that are computed together at most; null: by device."""
    queue: Count = 256
    """Requests that may be in work at a time; more are told to come again later."""
    max_texts: Count = 256
    """Texts a request."""
    max_megabytes: Annotated[float, Field(gt=0)] = 2.0
    """Size of a request."""
    max_file_megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Size of a file to be labelled."""
    timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a request is given up."""
    log_requests: bool = False
    """A line for each request, with its id, status and time, never its texts."""
    grace: Annotated[float, Field(ge=0)] = 30.0
    """Seconds in which requests in work are finished when the server is told to end."""


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two levels of settings; `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if both else value
    return merged


SECTIONS = tuple(name for name, field in Config.model_fields.items() if isinstance(field.default, Section))


def settings(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting as (dotted name, pydantic field)."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field
