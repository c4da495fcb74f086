"""Folds that a column gives: any names, each a fold; what is missing or contradicts is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accel_clf.config.load import load
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.exit_codes import DATA, USAGE
from accel_clf.cross_validation.assignment import assign_folds, with_given_folds
from accel_clf.cross_validation.run import collect, cross_validate
from accel_clf.training.run import train
from tests.conftest import read_csv, write_csv

Refused = Callable[..., str]
NAMES = ("part 2", "part 10", "part 1")  # one after another; not in their order


def write_rows(path: Path, names: tuple[str, ...] = NAMES, count: int = 48) -> Path:
    rows = [
        (f"{('bad', 'good')[number % 2]} film {number}", ("neg", "pos")[number % 2], names[number // 2 % len(names)])
        for number in range(count)
    ]
    return write_csv(path, rows, ("text", "label", "kfold"))


def settings(model: Path, rows: Path, output: Path, **data: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(model)},
        "data": {"train": str(rows), "fold": "kfold", "max_length": 16, "validation": None, **data},
        "output": str(output),
    }


@pytest.fixture(scope="module")
def cv(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    cross_validate(load(None, settings(tiny_bert, write_rows(folder / "rows.csv"), folder / "cv")))
    return folder


def test_rows_are_held_out_by_the_models_of_their_folds(cv: Path) -> None:
    rows, out_of_fold = read_csv(cv / "rows.csv"), read_csv(cv / "cv" / "out_of_fold.csv")
    in_order = ["part 1", "part 2", "part 10"]
    assert [row["fold"] for row in out_of_fold] == [str(in_order.index(row["kfold"])) for row in rows]
    folds = json.loads((cv / "cv" / "folds.json").read_text())
    assert (folds["folds"], folds["names"]) == (3, in_order)
    for fold in range(3):
        held_out = [int(row["row"]) for row in read_csv(cv / "cv" / f"fold-{fold}" / "held_out.csv")]
        assert held_out == [number for number, row in enumerate(rows) if row["kfold"] == in_order[fold]]
        assert folds["held_out"][fold] == held_out
    assert json.loads((cv / "cv" / "metrics.json").read_text())["folds"] == 3
    assert load(cv / "cv" / "config.yaml", {}).folds == 3


def test_a_finished_cross_validation_needs_no_data(cv: Path, tiny_bert: Path, tmp_path: Path) -> None:
    config = settings(tiny_bert, cv / "rows.csv", cv / "cv")
    hidden = (cv / "rows.csv").rename(tmp_path / "rows.csv")
    try:
        assert cross_validate(load(None, config))["folds"] == 3
    finally:
        hidden.rename(cv / "rows.csv")
    metrics = (cv / "cv" / "metrics.json").read_bytes()
    collect(load(cv / "cv" / "config.yaml", {}))
    assert (cv / "cv" / "metrics.json").read_bytes() == metrics


def test_folds_are_trained_one_at_a_time_and_resumed(tiny_bert: Path, tmp_path: Path) -> None:
    config = load(None, settings(tiny_bert, write_rows(tmp_path / "rows.csv"), tmp_path / "cv"))
    assert cross_validate(config, 2) == {}
    with pytest.raises(UserError, match="0 to 2"):
        cross_validate(config, 3)
    lines = (tmp_path / "rows.csv").read_text().splitlines(keepends=True)
    (tmp_path / "rows.csv").write_text("".join([lines[0], lines[1].replace("part 2", "part 1"), *lines[2:]]))
    with pytest.raises(ConfigError, match="is of other folds: held_out"):
        cross_validate(config)
    (tmp_path / "rows.csv").write_text("".join(lines))
    assert cross_validate(config)["folds"] == 3


def test_a_cross_validation_keeps_its_folds(cv: Path, tiny_bert: Path) -> None:
    """Also where it is finished, and nothing would be trained."""
    data = {"train": str(cv / "rows.csv"), "max_length": 16, "validation": None}
    dealt = {"model": {"name": str(tiny_bert)}, "data": data, "output": str(cv / "cv")}
    with pytest.raises(ConfigError, match=r"data\.fold kfold -> None"):
        cross_validate(load(None, {**dealt, "folds": 3}))
    with pytest.raises(ConfigError, match="folds 3 -> 4"):
        cross_validate(load(None, {**dealt, "folds": 4}))


def test_train_ignores_the_column(tiny_bert: Path, tmp_path: Path) -> None:
    """Also one that is not there, or differs when the run is started again."""
    rows = write_rows(tmp_path / "rows.csv")
    config = settings(tiny_bert, rows, tmp_path / "run", fold="nowhere")
    assert train(load(None, config))["training"]["steps"] == 3
    assert train(load(None, settings(tiny_bert, rows, tmp_path / "run")))["training"]["steps"] == 3


@pytest.mark.parametrize(
    "names", [("b", "a"), ("10", "9", "8", "7", "6", "5", "4"), ("x2y10", "x2y9", "X2y1"), ("é", "z")]
)
def test_any_names_are_folds_in_their_natural_order(tiny_bert: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    rows = write_rows(tmp_path / "rows.csv", names, 140)
    config = with_given_folds(load(None, settings(tiny_bert, rows, tmp_path / "cv")))
    assert config.folds == len(names)
    _, assignment = assign_folds(config)
    order = {"b": ["a", "b"], "10": [*list("456789"), "10"], "x2y10": ["X2y1", "x2y9", "x2y10"], "é": ["z", "é"]}[
        names[0]
    ]
    assert [order[fold] for fold in assignment] == [row["kfold"] for row in read_csv(rows)]


def test_columns_of_numbers_are_folds(tiny_bert: Path, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    folds = [number // 2 % 12 for number in range(96)]
    columns = {"text": [f"text {number}" for number in range(96)], "label": ["a", "b"] * 48, "kfold": folds}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    config = with_given_folds(load(None, settings(tiny_bert, tmp_path / "rows.parquet", tmp_path / "cv")))
    assert np.array_equal(assign_folds(config)[1], folds)


@pytest.mark.parametrize(("line", "names"), [(4, ("0", "", "1")), (2, (" ", "0", "1"))])
def test_a_row_without_a_fold_is_refused(
    tiny_bert: Path, tmp_path: Path, refused: Refused, line: int, names: tuple[str, ...]
) -> None:
    rows = write_rows(tmp_path / "rows.csv", names)
    message = refused(DATA, "cv", rows, "--model", tiny_bert, "--data.fold", "kfold", "--output", tmp_path / "cv")
    assert f"rows.csv, line {line}: column 'kfold' is empty" in message
    assert not (tmp_path / "cv").exists()


def test_folds_that_do_not_fit_are_refused(tiny_bert: Path, tmp_path: Path, refused: Refused) -> None:
    rows = write_rows(tmp_path / "rows.csv")
    args = ("cv", rows, "--model", tiny_bert, "--output", tmp_path / "cv")
    message = refused(USAGE, *args, "--data.fold", "kfold", "--folds", 5)
    assert "folds is 5, and column 'kfold' (data.fold) has 3 different values" in message
    assert "--folds 3" in message
    assert "no column 'kfolds'" in refused(DATA, *args, "--data.fold", "kfolds")
    assert "--fold 3" in refused(USAGE, *args, "--data.fold", "kfold", "--fold", 3)
    one = write_rows(tmp_path / "one.csv", ("only",))
    assert "all rows have the same value in column 'kfold'" in refused(
        DATA, "cv", one, *args[2:], "--data.fold", "kfold"
    )
    assert "all folds but 0: all 16 rows have the label" in refused(
        DATA, "cv", write_csv(tmp_path / "sorted.csv", [(f"t {n}", "ab"[n // 16], "01"[n // 16]) for n in range(32)],
                              ("text", "label", "kfold")), *args[2:], "--data.fold", "kfold",
    )  # fmt: skip
    many = write_rows(tmp_path / "many.csv", tuple(f"g{number}" for number in range(24)))
    message = refused(DATA, "cv", many, *args[2:], "--data.fold", "kfold", "--data.limit", 10)
    assert "no row of fold" in message
    assert not (tmp_path / "cv").exists()


def test_groups_in_several_given_folds_are_counted(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"text {number}", "ab"[number % 2], str(number // 2 % 3), f"author {number // 4}") for number in range(48)]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "label", "kfold", "author"))
    cross_validate(load(None, settings(tiny_bert, path, tmp_path / "cv", group="author")))
    warnings = [line for line in capsys.readouterr().err.splitlines() if "(data.group)" in line]
    [warning] = warnings
    assert "12 of 12 groups (data.group) are in two given folds or more, 'author 0' first" in warning
