"""Five thousand labels, one and several a text: trained, measured, evaluated and served."""

from pathlib import Path

import pytest

from accel_clf.cli.main import main
from accel_clf.config.load import load
from accel_clf.training.run import train
from tests.conftest import write_csv
from tests.serving.harness import serving

LABELS = 5000


@pytest.mark.parametrize("separator", [None, "|"], ids=["one", "several"])
def test_five_thousand_labels(
    separator: str | None, tmp_path: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(code: int) -> tuple[str, str]:
        second = f"|label-{(7 * code + 1) % LABELS:04d}" if separator else ""
        return f"the soup number {code} was superb", f"label-{code:04d}{second}"

    rows, held_out = [row(code) for code in range(LABELS)], [row(code) for code in range(0, LABELS, 25)]
    data = {
        "train": str(write_csv(tmp_path / "rows.csv", rows)),
        "validation": str(write_csv(tmp_path / "held_out.csv", held_out)),
        "label_separator": separator,
        "max_length": 16,
    }
    settings = {"model": {"name": str(tiny_bert)}, "data": data, "output": str(tmp_path / "run")}
    results = train(load(None, settings))["validation"]
    assert len(results["per_class"]) == LABELS
    assert (tmp_path / "run" / "metrics.json").stat().st_size < 4_000_000
    if separator is None:
        assert sum(count for _, _, count in results["confusion"]["entries"]) == len(held_out)
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "held_out.csv")]) == 0
    report = capsys.readouterr().out
    measured = 400 if separator else 200
    assert f"the 12 weakest of {measured} labels" in report
    assert len(report.splitlines()) < 30
    with serving(tmp_path / "run", tmp_path) as server:
        [scores] = server.predict(rows[0][0]).json
        [all_scores] = server.predict(rows[0][0], top_k=LABELS).json
    assert (len(scores), len(all_scores)) == (20, LABELS)
