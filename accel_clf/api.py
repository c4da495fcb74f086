"""Training, cross-validation and prediction from Python: what `import accel_clf` gives."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accel_clf.config.load import from_mapping, with_output
from accel_clf.config.load import load as load_settings
from accel_clf.config.schema import Config
from accel_clf.core.files import read_json
from accel_clf.core.process_env import in_xla_worker, is_main_process
from accel_clf.run_folder.layout import read_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_clf.inference.predictor import Predictor
    from accel_clf.run_folder.answer_tables import Prediction
    from accel_clf.targets.metrics import Metrics

POLL_SECONDS = 0.2  # between two looks for what rank 0 writes
Settings = Mapping[str, Any] | str | PathLike[str] | Config
"""Sections and settings as in a YAML file, the path of one, or a Config."""
Input = str | tuple[str, str] | Mapping[str, str]
"""A text; two, for a run with pairs; or texts by name."""


def train(config: Settings) -> "Run":
    """Fine-tune an encoder into a text classifier, as `accel-clf train` does.

    A finished run with the same settings is not trained again; an unfinished one resumes. Under `accelerate launch`
    each process calls this with the same settings, and each gets the run; all call its methods, too. A process that
    has trained on XLA cores can only train on them again: predict in another one.

    Args:
        config: the settings; `{}` is the built-in demo.

    Returns:
        The trained run.

    Raises:
        UserError: whatever the user can fix: ConfigError for settings, DataError for rows.
        Interrupted: SIGINT or SIGTERM has asked to stop; the state is saved.
    """
    from accel_clf.reports.html.report import with_report
    from accel_clf.training import run

    settings = _settings(config)
    _on_all_cores(lambda: with_report(settings, lambda: run.train(settings)))
    return Run(Path(settings.output))


def cross_validate(config: Settings) -> "Run":
    """Train a model for each fold and evaluate every row by a model that has not seen it, as `accel-clf cv` does.

    Args:
        config: the settings; see `train`.

    Returns:
        The folds' models as one classifier, once rank 0 has put them together.

    Raises:
        UserError, Interrupted: see `train`.
    """
    from accel_clf.cross_validation import run
    from accel_clf.reports.html.report import with_report

    settings = _settings(config, suffix="-cv")
    results = Path(settings.output) / "metrics.json"
    _on_all_cores(lambda: with_report(settings, lambda: run.cross_validate(settings)))
    while not is_main_process() and not results.is_file():  # rank 0 aggregates the folds, which may take minutes
        time.sleep(POLL_SECONDS)
    return Run(Path(settings.output))


def load(path: str | PathLike[str]) -> "Run":
    """Load a trained run or a finished cross-validation.

    Args:
        path: its folder.

    Raises:
        ConfigError: the folder is neither.
    """
    read_config(Path(path))
    return Run(Path(path))


class Run:
    """A trained run, or a cross-validation whose models answer together.

    Models are loaded at the first prediction, and kept.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> Config:
        """The settings that it was trained with."""
        return read_config(self.path)

    @property
    def metrics(self) -> dict[str, Any]:
        """The contents of its metrics.json: training, validation and test of a run; folds of a cross-validation.

        Raises:
            ConfigError: the folder is not that of a trained run or a finished cross-validation.
        """
        read_config(self.path)
        return read_json(self.path / "metrics.json")

    @property
    def labels(self) -> tuple[str, ...]:
        """The label names, in the order of the model's outputs."""
        names: tuple[str, ...] = self._predictor.target.names
        return names

    @cached_property
    def _predictor(self) -> "Predictor":
        from accel_clf.inference.predictor import Predictor

        return Predictor(self.path)

    def predict(self, texts: "Input | Iterable[Input]") -> "list[Prediction]":
        """Label texts.

        Args:
            texts: one or several. A pair, for a run with `data.pair`, is a tuple of two texts in a list of them, or
                {"text": ..., "text_pair": ...}. Any run takes the values of its text columns by their names, too.

        Returns:
            For each text {"label", "score", "scores"}: the likeliest label, its score, and every label's score.

        Raises:
            DataError: a text is not Unicode, or the model fails on it; or there are pairs where there should be none,
                or none where there should.
        """
        from accel_clf.data.texts import TextColumns
        from accel_clf.inference.bulk import predict_texts

        inputs = [texts] if isinstance(texts, str | Mapping) else texts
        columns = TextColumns.of(self.config.data)
        parsed = [columns.parse(text, f"text {number}") for number, text in enumerate(inputs, start=1)]
        return list(predict_texts(self._predictor, parsed))

    def evaluate(
        self,
        source: str | PathLike[str],
        *,
        text: str | Sequence[str] | None = None,
        pair: str | None = None,
        label: str | None = None,
        slice: str | None = None,
        split: str = "test",
        separator: str | None = None,
        quoting: str | None = None,
        encoding: str | None = None,
        header: bool | None = None,
        incomplete: Literal["refuse", "skip"] | None = None,
    ) -> "Metrics":
        """Evaluate on the labelled rows of a source.

        Args:
            source: a file, or a Hub data set's id or folder.
            text, pair, label, slice: columns, where they are not the run's own; of `text` one or several.
            split: of a Hub data set.
            separator, quoting, encoding, header: how a file is read, where that is not as the run's own.
            incomplete: whether rows without a text or a label are an error or are left out, where not as in the run.

        Returns:
            The metrics: `metrics["accuracy"]`, `.values`, `.per_class`, `.confusion`, `.slices`, `.to_json()`.

        Raises:
            DataError: the rows cannot be read, have a label that the run does not know, or a text that it fails on.
        """
        from accel_clf.inference.bulk import columns_of, evaluate_source

        changes: dict[str, Any] = {
            "text": text,
            "pair": pair,
            "label": label,
            "slice": slice,
            "separator": separator,
            "quoting": quoting,
            "encoding": encoding,
            "header": header,
            "incomplete": incomplete,
        }
        changes = {setting: value for setting, value in changes.items() if value is not None}
        data = columns_of(self.config.data, str(source), changes)
        return evaluate_source(self._predictor, str(source), data, split=split).metrics


def _settings(config: Settings, suffix: str = "") -> Config:
    if isinstance(config, Config):
        return with_output(config, suffix)
    if isinstance(config, Mapping):
        return from_mapping(config, suffix)
    return load_settings(config, {}, suffix)


def _on_all_cores(work: "Callable[[], object]") -> None:
    """Run `work`; on XLA cores that a launcher has started, end all of them where one fails."""
    if in_xla_worker():
        from accel_clf.strategies.xla.spawn import end_together

        end_together(work)
    else:
        work()
