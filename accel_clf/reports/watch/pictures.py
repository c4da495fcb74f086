"""What `watch` shows of a run: curves, rate, memory, time left, evaluations."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from accel_clf.reports.watch.braille import braille
from accel_clf.reports.watch.progress import CrossValidationProgress, RunProgress
from accel_clf.targets.metrics import LOWER_IS_BETTER
from accel_clf.tracking.content import Line

NAMES = {"loss": "loss", "rate": "learning rate", "grad_norm": "gradient norm"}  # of what is drawn, in metrics.jsonl
MAIN_HEIGHT, LEAST_HEIGHT, SIDE_HEIGHT = 8, 3, 3  # lines of the loss, at least, and of the curves below it
WIDE = 72  # columns from which those are beside each other
SILENCE = 60.0  # seconds from which it is said that nothing was written
LINES_OF_SILENCE = 5  # and for which so many lines would have been due
LOG_STEPS = 10  # of a line


def picture(progress: RunProgress | CrossValidationProgress, width: int, height: int | None = None) -> RenderableType:
    """Draw a run or a cross-validation.

    Args:
        progress: as its folder has it.
        width: of the terminal.
        height: of the terminal, for which curves are left out, or made lower; None for all of them.
    """
    if isinstance(progress, RunProgress):
        return Group(*_run(progress, str(progress.folder), width, height))
    parts: list[RenderableType] = [_title(f"{progress.folder}: {len(progress.folds)} folds", width), _folds(progress)]
    left, current = progress.seconds_left(), progress.current()
    if left is not None:
        parts.append(Text(f"all folds: about {duration(left)} left, one after another", style="dim"))
    if current:
        used = len(progress.folds) + 4  # lines
        parts += [Text(), *_run(current.run, f"fold {current.number}", width, height and max(1, height - used))]
    elif progress.is_finished:
        parts.append(Text("finished", style="green"))
    elif all(fold.run.is_finished for fold in progress.folds):
        parts.append(Text("putting the folds together", style="dim"))
    return Group(*parts)


def _run(run: RunProgress, title: str, width: int, height: int | None) -> list[RenderableType]:
    total, epochs = run.total_steps, run.config.training.epochs if run.config else None
    epoch = int(run.training[-1].values.get("train/epoch", 1)) if run.training else 1
    parts: list[RenderableType] = [_title(title, width)]
    if run.step and epochs:
        of_total = f" of {total}" if total else ""
        parts.append(Text(f"epoch {epoch} of {epochs}, step {run.step}{of_total}"))
    if total:
        parts.append(_bar(1.0 if run.is_finished else run.step / total, width))
    parts += [*_packed(_facts(run), width), _state(run)]
    below: list[RenderableType] = [Text(), _evaluations(run)] if run.evaluations else []
    lines = len(parts) + (3 + len(run.evaluations[-1].values) if below else 0)
    return [*parts, *_curves(run, width, None if height is None else height - lines), *below]


def _title(text: str, width: int) -> Text:
    """Write a title in one line, of a long one its end."""
    return Text(text if len(text) <= width else f"…{text[1 - width :]}", style="bold", no_wrap=True)


def _bar(share: float, width: int) -> Text:
    """Draw how much is done."""
    done = min(width, round(share * width))
    return Text("━" * done, style="cyan", no_wrap=True).append("━" * (width - done), style="dim white")


def _packed(facts: Sequence[str], width: int) -> list[Text]:
    """Put facts into as few lines as take them."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + 2 + len(fact) <= width:
            lines[-1] += f"  {fact}"
        else:
            lines.append(fact)
    return [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]


def _facts(run: RunProgress) -> list[str]:
    """What is known of a run in progress: rate, memory, time left."""
    facts = []
    if rate := run.rows_per_second():
        facts.append(f"{rate:,.0f} rows/s")
    if run.is_finished:  # its process may be at the next fold
        return facts
    facts += [f"{name} {size / 2**20:,.0f} MiB" for name, size in run.memory().items()]
    left = run.seconds_left()
    if left is not None:
        facts.append(f"about {duration(left)} left")
    return facts


def _state(run: RunProgress) -> Text:
    """Whether a run is in progress, and what is unusual about that."""
    if run.is_finished:
        stopped = run.results.get("training", {}).get("stopped_early")
        return Text("finished" + (", stopped early" if stopped else ""), style="green")
    if run.is_running() is False:
        return Text(
            "its process has ended; the same command resumes it", style="red", overflow="ellipsis", no_wrap=True
        )
    silent = run.seconds_since_written()
    if silent is None:
        return Text("waiting for its first step", style="dim")
    usual = LINES_OF_SILENCE * LOG_STEPS * (run.seconds_per_step() or 0.0)
    if silent > max(SILENCE, usual):
        return Text(f"nothing written for {duration(silent)}", style="yellow")
    return Text(str(run.environment.get("device", "")), style="dim", overflow="ellipsis", no_wrap=True)


def _curves(run: RunProgress, width: int, height: int | None) -> list[RenderableType]:
    """Draw the loss, and below it what else was written of each step, in as many lines as there are."""
    series = {name: _series(run.training, f"train/{key}") for key, name in NAMES.items()}
    drawn = {name: points for name, points in series.items() if len(points) > 1}
    if "loss" not in drawn:
        return []
    loss, beside = drawn.pop("loss"), width >= WIDE and len(drawn) > 1
    lines = MAIN_HEIGHT if height is None else height - 2  # without a blank line and the curve's name
    below = (SIDE_HEIGHT + 1) * (1 if beside else len(drawn))
    if height is not None and lines >= LEAST_HEIGHT + below:
        lines -= below
    elif height is not None:
        drawn = {}
    if lines < LEAST_HEIGHT:
        return []
    parts: list[RenderableType] = [Text(), *_curve("loss", loss, width, min(lines, MAIN_HEIGHT))]
    if beside and drawn:
        columns = Table.grid(padding=(0, 2, 0, 0))
        part = (width - 2 * len(drawn)) // len(drawn)
        columns.add_row(*[Group(*_curve(name, points, part, SIDE_HEIGHT)) for name, points in drawn.items()])
        return [*parts, columns]
    for name, points in drawn.items():
        parts += _curve(name, points, width, SIDE_HEIGHT)
    return parts


def _series(lines: Sequence[Line], name: str) -> list[tuple[float, float]]:
    return [(line.step, line.values[name]) for line in lines if name in line.values]


def _curve(name: str, points: list[tuple[float, float]], width: int, height: int) -> list[RenderableType]:
    """Draw a curve with its name and last value above it, and its least and greatest value beside it."""
    values = [y for _, y in points]
    labels = [f"{max(values):.4g}", *[""] * (height - 2), f"{min(values):.4g}"]
    margin = max(map(len, labels))
    lines = braille(points, width - margin - 1, height)
    title = Text(name, style="bold").append(f" {values[-1]:.4g}", style="not bold")
    return [title, *(_curve_line(label.rjust(margin), line) for label, line in zip(labels, lines, strict=True))]


def _curve_line(label: str, line: str) -> Text:
    return Text(label, style="dim", no_wrap=True).append(f" {line}", style="not dim cyan")


def _evaluations(run: RunProgress) -> Table:
    """The last evaluation beside the best one."""
    last, best = run.evaluations[-1], run.best()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("evaluation", no_wrap=True)
    table.add_column(f"step {last.step}", justify="right")
    if best and best is not last:
        table.add_column(f"best, step {best.step}", justify="right")
    for name, value in last.values.items():
        metric = name.removeprefix("validation/")
        cells = [f"{value:.4f}"]
        if best and best is not last:
            cells.append(f"{best.values[name]:.4f}" if name in best.values else "")
        table.add_row(metric, *cells, style="bold" if metric == run.metric else "")
    if best is last and len(run.evaluations) > 1 and not run.is_finished:
        table.caption, table.caption_justify = "the best so far", "left"
    return table


def _folds(progress: CrossValidationProgress) -> Table:
    """A line for each fold: where it is, and what it has reached."""
    current = progress.current()
    table = Table(box=None, padding=(0, 2, 0, 0))
    metric = next((fold.run.metric for fold in progress.folds if fold.run.metric), "")
    for title in ("fold", "", metric):
        table.add_column(title, justify="right" if title == metric else "left")
    for fold in progress.folds:
        run = fold.run
        measured = run.results.get("held_out", {}).get(metric)
        best = run.best()
        if run.is_finished:
            state, value = "finished", f"{measured:.4f} held out" if measured is not None else ""
        elif run.environment:
            share = f" {run.step / run.total_steps:.0%}" if run.total_steps else ""
            state = ("training" if fold is current else "begun") + share
            value = f"{best.values[f'validation/{metric}']:.4f} validation" if best else ""
        else:
            state, value = "waiting", ""
        table.add_row(str(fold.number), state, value)
    return table


def evaluation_line(run: RunProgress, evaluation: Line) -> str:
    """Write an evaluation as a line of text."""
    best, total = run.best(evaluation.step), run.total_steps
    parts = [f"step {evaluation.step}" + (f" of {total}" if total else "")]
    parts += [f"{name.removeprefix('validation/')} {value:.4f}" for name, value in evaluation.values.items()]
    if best:
        word = "lowest" if run.metric in LOWER_IS_BETTER else "best"
        parts.append(f"({word} {run.metric} {best.values[f'validation/{run.metric}']:.4f} at step {best.step})")
    left = run.seconds_left() if evaluation is run.evaluations[-1] else None  # of the others it was another then
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Write a duration as people do: 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
