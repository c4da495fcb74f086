"""Every setting, once: YAML keys, flags, `--help`, defaults, checks and the documentation's tables come from here."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from accel_clf.config.metric_names import LABEL_METRICS, METRICS, NAMED_METRICS, is_named_metric
from accel_clf.config.model_schema import LoraConfig as LoraConfig
from accel_clf.config.model_schema import ModelConfig as ModelConfig
from accel_clf.config.model_schema import Section as Section
from accel_clf.config.presets import DEMO, LP_FT
from accel_clf.config.tracking_schema import TrackingConfig as TrackingConfig
from accel_clf.config.values import Column, Columns, Count, Encoding, Separator, ShareOrSource, StepsOrMinutes, Tracker

FILE_SETTINGS = ("separator", "quoting", "encoding", "header")  # of DataConfig: how files are read


class WindowsConfig(Section):
    """Texts of more than data.max_length tokens."""

    stride: Annotated[int, Field(ge=0)] | None = None
    """Read long texts in windows of data.max_length tokens, each with the last `stride` of the one before, as
    transformers' tokenizers count it; null: long texts are cut."""
    most: Count = 8
    """Maximum number of windows per text; of more, those in the middle are left out."""
    pool: Literal["mean", "max", "attention"] = "mean"
    """What a text's outputs are of its windows'; attention: a mean whose weights are learned."""


class DataConfig(Section):
    """The data set."""

    train: str = "demo"
    """"demo", a file (.csv .tsv .jsonl .json .parquet .xlsx, .gz and .zip, too), a folder with a folder of text files
    for each label, or the id or local folder of a Hub data set."""
    validation: ShareOrSource | None = 0.1
    """A share of the training rows, a file, or a split of the Hub data set; null disables validation."""
    test: str | None = None
    """A file or a split of the Hub data set, evaluated once, at the end."""
    calibration: ShareOrSource | None = None
    """A share of the training rows, a file, or a split of the Hub data set, that nothing is learned from or chosen by:
    what `--risk` of predict, evaluate and serve goes by."""
    config: str | None = None
    """Configuration of the Hub data set, where it has several."""
    revision: str | None = None
    """Revision of the data set on the Hub: a branch, a tag or a commit; null: the newest."""
    split: str = "train"
    """Split of the Hub data set to train on."""
    text: Columns = "text"
    """Column with the text, inside of nested values by dots: data.text; or several columns, whose values are joined by
    spaces, in this order."""
    pair: Column | None = None
    """Column with a second text, where the label is about two texts, encoded as tokenizer(text, pair)."""
    symmetric: bool = False
    """The order of a pair means nothing: both are trained on, and answers are the mean of both orders' scores."""
    label: Columns = "label"
    """Column with the label; or several columns of 0 and 1, one for each label that a text may have."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """Separator of the labels in a cell that may hold several, such as "|"; JSON lists need none."""
    incomplete: Literal["refuse", "skip"] = "refuse"
    """Rows without a text or a label: refuse ends the command and counts them; skip leaves them out, and those with an
    empty text, and says how many. A text that may have several labels may have none."""
    near_duplicates: bool = True
    """Warn of validation, test and calibration rows whose text is nearly that of a training row, and of such rows in
    different folds; up to a million training rows and 200,000 others."""
    group: str | None = None
    """Column with the group of each row; a group is never divided between splits or folds."""
    fold: str | None = None
    """Column with the fold that holds a row out, for `cv`: as many folds as it has values. `train` ignores it."""
    slice: str | None = None
    """Column to report metrics by, such as a language."""
    separator: Separator | None = None
    """Separator of the fields of .csv and .tsv files; null: a comma in .csv, a tab in .tsv."""
    quoting: Literal["standard", "none"] | None = None
    """Quotes in .csv and .tsv files: enclose fields (standard), or are letters (none). null: standard in .csv; in .tsv
    they are letters, unless they enclose a whole field."""
    encoding: Encoding = "utf-8"
    """Encoding of files; a byte-order mark is fine."""
    header: bool = True
    """The first row of .csv, .tsv and .xlsx files names the columns; false: they are numbered from 1."""
    max_length: Annotated[int, Field(ge=3)] = 256
    """Maximum tokens per text, or per window of it; longer texts are truncated, unless data.windows.stride is set."""
    windows: WindowsConfig = WindowsConfig()
    limit: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of training rows, validation's share included: a random sample, stratified by class."""

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if self.pair in self.text_columns:
            raise ValueError(f"data.pair is {self.pair!r}, which is in data.text, too: another column")
        if self.pair is not None and self.windows.stride is not None:
            raise ValueError("data.pair and data.windows.stride exclude each other: windows are of single texts")
        if self.symmetric and self.pair is None:
            raise ValueError("data.symmetric is about pairs, and there is no data.pair")
        return self

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that a text is in."""
        return (self.text,) if isinstance(self.text, str) else self.text

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns with labels."""
        return (self.label,) if isinstance(self.label, str) else self.label


class TargetConfig(Section):
    """What is predicted, and how it is learned."""

    type: Literal["auto", "single_label", "multi_label", "ordinal", "regression"] = "auto"
    """What a text has: one label; any number of labels; one label of an order; or a number. auto: several labels where
    the data's form says so (several columns, a separator, JSON lists), otherwise one label."""
    order: tuple[str, ...] = ()
    """Labels of an ordinal target, the lowest first; by default they are numbers, in their order."""
    loss: Literal["auto", "plain", "weighted", "focal", "logit_adjusted"] = "auto"
    """Loss: cross-entropy (plain, and auto); weighted against each label's share; focal; or with logits adjusted by the
    labels' shares. The last three are for data where some labels are rare. For numbers: the squared error."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target probability that is spread evenly over all labels."""
    thresholds: Literal["fixed", "f1"] = "fixed"
    """Score from which a text has a label, where it may have several: 0.5 for all; or one for each label, that of the
    best F1 on the validation rows, or on a cross-validation's out-of-fold answers."""
    calibration: Literal["none", "temperature"] = "none"
    """Calibration of the scores: a temperature fitted on the validation rows, by which the model's outputs are divided
    for good."""

    @model_validator(mode="after")
    def _check_smoothing(self) -> Self:
        if self.loss == "focal" and self.label_smoothing:
            raise ValueError("target.label_smoothing and target.loss focal exclude each other: one of them")
        return self


class BatchConfig(Section):
    """How rows are batched."""

    size: Count = 16
    """Batch size per process."""
    accumulate: Count = 1
    """Gradient accumulation steps: micro-batches per optimizer step."""
    layout: Literal["auto", "padded", "bucketed", "packed"] = "auto"
    """padded: to the longest row of the batch; bucketed: to one of a few widths, for compilers; packed: rows
    concatenated without padding, for encoders of BERT's family; auto: by device and encoder."""
    order: Literal["random", "length"] = "random"
    """length: rows of similar length share a step, which reduces the padding of padded and bucketed batches."""

    @property
    def evaluation_size(self) -> int:
        """Batch size per process in an evaluation: without gradients there is memory for more rows."""
        return 4 * self.size

    def rows_per_step(self, processes: int) -> int:
        """Return the number of rows in an optimizer step, over all processes."""
        return self.size * self.accumulate * processes


class TrainingConfig(Section):
    """The training loop."""

    method: Literal["fine_tune", "lp_ft"] = "fine_tune"
    """fine_tune: the head starts at random; lp_ft, for few rows a label: it starts as a linear model fitted to the
    encoder's embeddings (linear probing, then fine-tuning), the mean of all tokens in encoders of BERT's and RoBERTa's
    kind, with 20 epochs and a learning rate of 5e-5, if not set."""
    epochs: Count = 1
    """Passes over the training rows."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate, before lr_scaling; null: 2e-5, with LoRA 5e-4; where a text may have several labels 1e-4,
    with LoRA 1e-3."""
    head_lr_multiplier: Annotated[float, Field(gt=0)] | None = None
    """The head's learning rate, as a multiple of the encoder's; null: 1; 10 where a text may have several labels, and
    there is no LoRA."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The learning rate of each layer, as a multiple of that of the layer above; the head's is above the last layer's,
    the embeddings' below the first's."""
    lr_scaling: Literal["linear", "sqrt", "none"] = "linear"
    """Factor of the learning rate: the number of processes (linear), its square root (sqrt), or 1 (none)."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate after warm-up: linear or cosine decay to zero, or constant."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Warm-up: the share of all steps over which the learning rate rises linearly from zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW; biases and norms have none."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradient clipping: the maximum global norm; null disables it."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of matrix products; weights stay fp32. auto: by device."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of splits and samples, the order of rows, the new head's weights, and dropout."""
    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Minutes to wait for a process that does not respond before the job is ended; not on XLA."""


class CheckpointConfig(Section):
    """Saving the state of a run, so that it can be interrupted anywhere and resumed."""

    every: StepsOrMinutes = "10m"
    """Optimizer steps (500) or minutes ("10m") between checkpoints. Also saved: with each new best model, at the end
    and on a signal."""
    keep: Count = 2
    """Number of newest checkpoints to keep; that of the best model is kept, too."""

    @property
    def steps(self) -> float:
        """Optimizer steps between checkpoints; infinite where `every` is in minutes."""
        return self.every if isinstance(self.every, int) else math.inf

    @property
    def minutes(self) -> float:
        """Minutes between checkpoints; infinite where `every` is in steps."""
        return math.inf if isinstance(self.every, int) else float(self.every.removesuffix("m"))


class EvaluationConfig(Section):
    """Metrics on the validation and test rows, and when they are computed."""

    every: Literal["epoch"] | Count = "epoch"
    """"epoch", or the number of optimizer steps between evaluations."""
    metric: str = "auto"
    """Metric that selects the best checkpoint: one that a run always has, or one for `metrics`. auto: accuracy;
    mean_average_precision of several labels; quadratic_kappa of an order; mae of a number."""
    metrics: tuple[str, ...] = ()
    """Additional metrics: roc_auc, average_precision, mcc, balanced_accuracy, brier, f1:LABEL, precision:LABEL,
    recall:LABEL, or a module of the `evaluate` library, by name or path."""
    patience: Count | None = None
    """Early stopping: evaluations without improvement before training stops; null disables it."""
    baseline: bool = False
    """Also fit TF-IDF with logistic regression on the same rows, as a baseline of words alone."""

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        built_in = tuple(dict.fromkeys(name for names in METRICS.values() for name in names))
        if self.metric not in ("auto", *built_in, *self.metrics) and not is_named_metric(self.metric):
            known = ", ".join((*built_in, *NAMED_METRICS, *(f"{name}:LABEL" for name in LABEL_METRICS)))
            raise ValueError(f"evaluation.metric {self.metric!r} is neither {known} nor in metrics")
        return self

    @property
    def named_metrics(self) -> tuple[str, ...]:
        """The built-in metrics that are asked for, each once."""
        return tuple(dict.fromkeys(filter(is_named_metric, (*self.metrics, self.metric))))

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of the `evaluate` library that are asked for."""
        return tuple(name for name in self.metrics if not is_named_metric(name))


class Config(Section):
    """All settings of a run. Without a model and a data set it is the demo."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    target: TargetConfig = TargetConfig()
    batch: BatchConfig = BatchConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    folds: Annotated[int, Field(ge=2)] = 5
    """Number of cross-validation folds; that of data.fold's values, where it is set. `train` ignores it."""
    trackers: tuple[Tracker, ...] = ()
    """Experiment trackers, by Accelerate: they get the settings, every line of metrics.jsonl and the results; never a
    text."""
    tracking: TrackingConfig = TrackingConfig()
    strategy: Literal["accelerate", "xla"] = "accelerate"
    """What drives the hardware: Hugging Face Accelerate, or raw torch_xla on TPU cores, real or virtual."""
    virtual_cores: Count | None = None
    """Number of virtual XLA cores on the CPU, to test a TPU job without a TPU; null uses the real hardware."""
    report: bool = False
    """Also write report.html into the run folder, at the end; needs the extra `report`."""
    output: str = ""
    """Run folder; by default runs/ and the name of the training data, with -cv for a cross-validation."""
    resume: str = "auto"
    """"auto" resumes the run in the run folder, "never" moves it aside and starts over; or a checkpoint's path."""
    allow_changes: bool = False
    """Resume even if settings or data that affect the result have changed."""

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        if self.training.method != "lp_ft":
            return self
        if self.model.name == "demo":
            raise ValueError("training.method lp_ft is for pretrained encoders, and the demo's is trained from scratch")
        if self.model.lora.rank is not None:
            raise ValueError(
                "training.method lp_ft and model.lora.rank exclude each other: adapters fit the encoder as it is"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _demo_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not all(isinstance(v, Mapping) for k, v in values.items() if k in DEMO):
            return values  # pydantic explains what is wrong with them
        train = values.get("data", {}).get("train", "demo")
        model = values.get("model", {})
        if train == "demo" and isinstance(model, Mapping) and "name" not in model:
            values = merge(values, {"model": {"name": "demo"}})
        if isinstance(values.get("model"), Mapping) and values["model"].get("name") == "demo":
            values = merge(DEMO, values)
        if values.get("training", {}).get("method") == "lp_ft":
            values = merge(LP_FT, values)
        return values


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings, section by section; `override` wins."""
    merged = dict(base)
    for key, value in override.items():
        are_sections = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if are_sections else value
    return merged


SECTIONS = tuple(name for name, field in Config.model_fields.items() if isinstance(field.default, Section))


def settings(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over all settings, as (dotted name, pydantic field)."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field
