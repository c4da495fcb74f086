"""What is read of a run folder's JSON files, and no more: they may have other keys."""

from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict  # that of Python 3.11 is not one of those that pydantic takes

Count = Annotated[int, Field(ge=0)]
Rows = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
STRUCTURE = ("per_class", "confusion", "slices")  # of metrics, which are numbers otherwise


def _with_numbers(metrics: Any) -> Any:
    """Check metrics of whatever names."""
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        if name not in STRUCTURE and not isinstance(value, int | float):
            raise ValueError(f"{name} is not a number")
    return metrics


def _with_labels(metrics: Any) -> Any:
    """Check that a confusion matrix is one of the labels."""
    if "confusion" not in metrics:
        return metrics
    labels, confusion = len(metrics.get("per_class", ())), metrics["confusion"]
    if isinstance(confusion, list):
        is_right = [len(row) for row in confusion] == [labels] * labels
    else:
        is_right = all(len(entry) == 3 and max(entry[:2]) < labels for entry in confusion["entries"])
    if not is_right or not labels:
        raise ValueError("confusion has other labels than per_class")
    return metrics


Confusions = list[list[Count]]
Numeric = BeforeValidator(_with_numbers)


class Training(TypedDict):
    """What metrics.json says of training."""

    rows: Count
    steps: Count
    best_step: Count
    seconds: float
    stopped_early: bool


class OfLabel(TypedDict):
    """The metrics of a label."""

    precision: Share
    recall: Share
    f1: Share
    rows: Count
    predicted: NotRequired[Count | None]


class OfSlice(TypedDict):
    """The metrics of a slice."""

    rows: Count


class Sparse(TypedDict):
    """The confusions of many labels: label, prediction, rows."""

    entries: Confusions


class Metrics(TypedDict):
    """The metrics of rows."""

    rows: Rows
    per_class: NotRequired[dict[str, Annotated[OfLabel, Numeric]]]
    confusion: NotRequired[Confusions | Sparse]
    slices: NotRequired[dict[str, Annotated[OfSlice, Numeric]]]


Evaluated = Annotated[Metrics, Numeric, AfterValidator(_with_labels)]


class BeforeAndAfter(TypedDict):
    """A metric before and after a temperature."""

    before: float
    after: float


class Calibration(TypedDict):
    """What metrics.json says of a temperature."""

    temperature: float
    expected_calibration_error: NotRequired[BeforeAndAfter]
    brier: NotRequired[BeforeAndAfter]


class RunResults(TypedDict):
    """The metrics.json of a run."""

    training: Training
    test: NotRequired[Evaluated]
    held_out: NotRequired[Evaluated]
    validation: NotRequired[Evaluated]
    calibration: NotRequired[Calibration]
    baseline: NotRequired[dict[str, float]]


class Ensemble(TypedDict):
    """What folds' models say together of the test rows."""

    ensemble: Evaluated


class OfFold(TypedDict):
    """The metrics of a fold."""

    fold: Count


class Suspects(TypedDict):
    """How many labels are doubted."""

    listed: Count
    issues: Count


class JointResults(TypedDict):
    """The metrics.json of a cross-validation."""

    out_of_fold: Evaluated
    mean: dict[str, float]
    spread: dict[str, float]
    each: Annotated[list[Annotated[OfFold, Numeric]], Field(min_length=1)]
    test: NotRequired[Ensemble]
    calibration: NotRequired[Calibration]
    suspect_labels: NotRequired[Suspects]


class Thresholds(TypedDict):
    """What metrics.json says of the thresholds of all folds."""

    thresholds: NotRequired[list[float] | None]


class Folds(TypedDict):
    """The file of the folds."""

    folds: Rows
    rows: str


class Environment(TypedDict, total=False):
    """The file environment.json."""

    command: list[str]
    host: str
    pid: Rows
    from_step: Count
    total_steps: Count | None
    device: str
    processes: Rows
    versions: dict[str, str | None]


class Counted(TypedDict):
    """How many rows have each label."""

    counts: Annotated[dict[str, Count], Field(min_length=1)]
    rows_without: NotRequired[Count]


class Numbers(TypedDict):
    """Which numbers rows have."""

    numbers: dict[str, float]


class Lengths(TypedDict):
    """How many rows have which length."""

    edges: Annotated[list[float], Field(min_length=2)]
    rows: Annotated[list[Count], Field(min_length=1)]


class OfSplit(TypedDict):
    """What the rows of a split are like."""

    rows: Rows
    labels: Counted | Numbers
    tokens: dict[str, float]
    lengths: Lengths
    cut: Count
    cut_means: str | None
    texts_of_training_rows: Count | None


class Twins(TypedDict):
    """How many rows have the text of another one."""

    rows: Count
    texts_with_different_labels: Count


class Splits(TypedDict):
    """What the rows of all splits are like."""

    train: OfSplit
    validation: NotRequired[OfSplit]
    test: NotRequired[OfSplit]
    held_out: NotRequired[OfSplit]
    calibration: NotRequired[OfSplit]


class DataFacts(TypedDict):
    """The file rows.json."""

    splits: Splits
    twins: Twins
    left_out: dict[str, Count]
    warnings: list[str]
