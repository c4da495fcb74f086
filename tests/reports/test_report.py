"""The report's figures: each equal to what metrics.json has, of every kind of target, finished or not."""

import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from accel_clf.cli.main import main
from accel_clf.config.load import load
from accel_clf.core.errors import ConfigError
from accel_clf.cross_validation.run import cross_validate
from accel_clf.reports.html.confidence import GRID, reliability
from accel_clf.reports.html.evidence import read_evidence
from accel_clf.reports.html.figures import averages, number
from accel_clf.reports.html.report import render_report, with_report, write_report
from accel_clf.targets.calibration import expected_calibration_error
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.single_label import SingleLabel
from accel_clf.training.run import train
from tests.conftest import read_csv, write_csv
from tests.reports.folders import TARGETS, write_run


class Page(HTMLParser):
    """The figures of a page by their paths, its data, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.figures: dict[tuple[str | int, ...], list[str]] = {}
        self.text, self.data = "", ""
        self._path: tuple[str | int, ...] | None = None
        self._is_data = False
        self.feed(html)
        self.data = json.loads(self.data) if self.data else {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if path := attributes.get("data-figure"):
            self._path = tuple(json.loads(path))
        self._is_data = attributes.get("id") == "page-data"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._path is not None:
            self.figures.setdefault(self._path, []).append(data)
            self._path = None
        if self._is_data:
            self.data += data


def value_at(metrics: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        metrics = metrics[key]
    return metrics


def expected_paths(metrics: dict[str, Any], split: str) -> set[tuple[str | int, ...]]:
    """What a report must show, at least."""
    results = metrics[split]
    paths: set[tuple[str | int, ...]] = {(split, name) for name in ("rows", *averages(results))}
    for name, of in results.get("per_class", {}).items():
        paths |= {(split, "per_class", name, key) for key in ("precision", "recall", "f1", "rows", "predicted")}
        paths |= {(split, "per_class", name, key) for key in of if key in ("threshold", "average_precision", "roc_auc")}
    for name, of in results.get("slices", {}).items():
        paths |= {(split, "slices", name, key) for key in ("rows", *averages(of))}
    if "confusion" in results:
        classes = range(len(results["per_class"]))
        paths |= {(split, "confusion", label, predicted) for label in classes for predicted in classes}
    for part in ("baseline", "mean", "spread"):
        paths |= {(part, name) for name in metrics.get(part, {})}
    for fold, of in enumerate(metrics.get("each", [])):
        paths |= {("each", fold, name) for name in averages(of) if name != "fold"}
    for name, of in metrics.get("calibration", {}).items():
        paths |= {("calibration", name)} if name == "temperature" else {("calibration", name, when) for when in of}
    paths |= {("suspect_labels", name) for name in metrics.get("suspect_labels", {})}
    return paths | {("training", name) for name in ("best_step", "steps", "seconds") if "training" in metrics}


def check_figures(folder: Path, split: str) -> Page:
    """Read a report's figures back, and compare them with metrics.json."""
    metrics = json.loads((folder / "metrics.json").read_text())
    page = Page(render_report(folder))
    for path, texts in page.figures.items():
        assert set(texts) == {number(value_at(metrics, path))}, path
    assert expected_paths(metrics, split) <= set(page.figures)
    return page


@pytest.mark.parametrize("kind", TARGETS)
def test_figures_are_those_of_metrics_json(kind: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TARGETS[kind])
    page = check_figures(folder, "test")
    evidence = read_evidence(folder)
    predictions, results = evidence.predictions, evidence.results
    assert predictions is not None and evidence.target == TARGETS[kind]
    rows = read_csv(folder / "predictions.csv")
    assert [evidence.target.to_text(label) for label in predictions.labels] == [row["label"] for row in rows]
    # Charts and lists, which are computed from the rows, agree with metrics.json, too.
    if kind == "regression":
        assert np.abs(predictions.labels - predictions.decided).mean() == pytest.approx(results["mae"])
        return
    by_name = {option["name"]: option for option in page.data["thresholds"]}
    if kind == "multi_label":
        for name, of in results["per_class"].items():
            option = by_name[name]
            assert option["cut"] == of["threshold"]
            missed = [
                row for row in rows if name in row["label"].split("|") and name not in row["predicted"].split("|")
            ]
            code = evidence.target.names.index(name)
            opened = [page.data["opened"][index] for index in page.data["cells"].get(f"{code},0", [])]
            assert len(opened) == min(10, len(missed))
            assert {row for row, *_ in opened} <= {int(row["row"]) for row in missed}
    else:
        option = by_name["the label that is answered"]
        assert option["right"][0] / option["given"][0] == pytest.approx(results["accuracy"])
        counts = {(label, predicted): count for label, predicted, count in page.data["confusion"]}
        for cell, opened in page.data["cells"].items():
            label, predicted = map(int, cell.split(","))
            assert len(opened) == min(10, counts[label, predicted])
            for row, is_label, is_predicted, _, text in (page.data["opened"][index] for index in opened):
                assert (is_label, is_predicted) == (evidence.target.names[label], evidence.target.names[predicted])
                assert text == f"row {row}"
        bins = reliability(evidence.target, predictions.labels, predictions.scores)
        ece = sum(rows * abs(score - right) for score, right, rows in bins) / results["rows"]
        assert ece == pytest.approx(expected_calibration_error(predictions.scores, predictions.labels))
        assert ece == pytest.approx(results["ece"])


@pytest.mark.parametrize("seed", range(5))
def test_slider_begins_with_the_figures_of_the_table(seed: int, tmp_path: Path) -> None:
    """With whatever thresholds labels have; all labels together with what metrics.json says if they have one."""
    generator = np.random.default_rng(seed)
    names = ("a", "b", "c", "d", "e")
    cuts = generator.choice([generator.random(5), generator.random(5).round(2), np.full(5, generator.random())])
    folder = write_run(tmp_path / "run", MultiLabel(names, thresholds=tuple(cuts.tolist())))
    page = Page(render_report(folder))
    results = json.loads((folder / "metrics.json").read_text())["test"]

    def first(option: dict[str, Any]) -> tuple[int, int, int]:
        at = np.union1d(GRID, [option["cut"]]).tolist().index(option["cut"])
        assert len(option["right"]) == len(option["given"]) == len(np.union1d(GRID, [option["cut"]]))
        return option["right"][at], option["given"][at], option["positives"]

    together, *options = page.data["thresholds"]
    for option in options:
        of = results["per_class"][option["name"]]
        right, predicted, positives = first(option)
        assert (predicted, positives) == (of["predicted"], of["rows"])
        assert 2 * right / max(1, predicted + positives) == pytest.approx(of["f1"])
        assert right / max(1, predicted) == pytest.approx(of["precision"])
    right, predicted, positives = first(together)
    if len(set(cuts)) == 1:
        assert 2 * right / max(1, predicted + positives) == pytest.approx(results["micro_f1"])
    else:
        shown = page.text.partition("each label's own, ")[2].partition("\n\n")[0]
        assert f"F1 {results['micro_f1']:.4f}" in " ".join(shown.split())


def test_most_wrong_and_least_sure_labels(tmp_path: Path) -> None:
    """Beside a text that may have several labels stands the one that the order of the rows goes by, with its score."""
    target = TARGETS["multi_label"]
    assert isinstance(target, MultiLabel)
    folder = write_run(tmp_path / "run", target)
    html, of_rows = render_report(folder), read_csv(folder / "predictions.csv")
    for id, header in (("errors", "most wrong"), ("unsure", "least sure")):
        table = html.partition(f'<table id="{id}"')[2].partition("</table>")[0]
        headers = re.findall(r"<th scope=\"col\"[^>]*>([^<]*)</th>", table)
        assert headers == ["row", "label", "predicted", header, "score", "text"]
        rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in table.split("<tr>")[2:]]
        last = None
        for number_, label, predicted, name, score, _ in rows:
            row = of_rows[int(number_)]
            label, predicted, name = (re.sub("<.*?>", "", cell) for cell in (label, predicted, name))
            assert (label, predicted) == (row["label"] or "(none)", row["predicted"] or "(none)")
            value, cut = float(row[f"score:{name}"]), target.cuts[target.names.index(name)]
            assert score == f"{value:.3f}<small>from {cut:.3f}</small>"
            is_wrong = (name in row["label"].split("|")) != (name in row["predicted"].split("|"))
            distance = abs(value - cut) * (-1 if header == "most wrong" else 1)
            assert is_wrong or header == "least sure"
            assert last is None or distance >= last - 1e-9, "the order of the rows"
            last = distance
        assert len(rows) == 100 or header == "most wrong"


def test_reliability_of_an_order_is_about_the_likeliest_label(tmp_path: Path) -> None:
    """As the error in metrics.json is; the page says so, since the answer is another one."""
    page = Page(render_report(write_run(tmp_path / "run", TARGETS["ordinal"])))
    assert "How often the likeliest label is right" in page.text and "need not be the answer" in page.text
    page = Page(render_report(write_run(tmp_path / "other", TARGETS["single_label"])))
    assert "Share of right answers by score" in page.text and "need not be the answer" not in page.text


def test_every_name_is_short_and_isolated(tmp_path: Path) -> None:
    """In each table; a name that nothing is left of says so."""
    names = ("L" * 5000, "back\u202ewards", "fine")
    page = render_report(write_run(tmp_path / "run", SingleLabel(names), slices=("", "S" * 300)))
    assert "<bdi>(empty)</bdi>" in page and f'<bdi title="{names[1]}">back wards</bdi>' in page
    shown = re.sub(r'(title|data-figure)="[^"]*"|<script.*', "", page, flags=re.DOTALL)
    assert "\u202e" not in shown and not re.search(r"L{81}|S{81}", shown)


def test_legends_stand_beside_the_lines(tmp_path: Path) -> None:
    page = render_report(write_run(tmp_path / "run", TARGETS["single_label"]))
    drawing = ElementTree.fromstring(re.findall(r"<svg id=\"chart-loss\".*?</svg>", page, re.DOTALL)[0])
    assert drawing.find(".//*[@id='chart-loss-legend_1']") is not None
    assert drawing.find(".//*[@id='chart-loss-axes_1']//*[@id='chart-loss-legend_1']") is None


def test_training_rows_have_one_name(labelled: Path, tiny_bert: Path, tmp_path: Path) -> None:
    of_run = settings(labelled, tiny_bert, tmp_path / "run", target={}, report=False)
    of_run["data"] |= {"max_length": 4}
    of_run["training"] |= {"epochs": 1}
    train(load(None, of_run))
    text = Page(render_report(tmp_path / "run")).text
    assert " training rows reach 4 tokens" in text and "train rows" not in text


@pytest.mark.parametrize("kind", TARGETS)
def test_unfinished_runs_have_a_report(kind: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TARGETS[kind], finished=False)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"event": "train", "step": 210, "lo')  # which is still being written
    page = render_report(folder, reloads=True)
    assert 'data-reload="5"' in page and "200 steps have been logged" in page
    assert "The best step so far: 50." in page, "the first of equal ones"
    (folder / "rows.json").unlink()
    (folder / "metrics.jsonl").unlink()
    (folder / "environment.json").unlink()
    assert "Nothing has been logged yet" in render_report(folder)
    write_run(tmp_path / "finished", TARGETS[kind])
    assert "data-reload" not in render_report(tmp_path / "finished", reloads=True)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        render_report(tmp_path / "none")
    with pytest.raises(ConfigError, match="no run"):
        render_report(tmp_path)


def test_texts_can_be_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TARGETS["single_label"], texts=["a secret"])
    assert "a secret" in write_report(folder).read_text(encoding="utf-8")
    assert main(["report", str(folder), "--output", str(tmp_path / "page.html"), "--texts", "none"]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "secret" not in page and "Texts are left out" in page
    assert main(["report", str(folder), "--serve", "--output", "x.html"]) == 2
    assert main(["report", str(folder), "--port", "8001"]) == 2


@pytest.mark.parametrize(("classes", "rows"), [(150, 3000), (5000, 300)])
def test_many_labels(classes: int, rows: int, tmp_path: Path) -> None:
    """The page does not grow with the square of their number."""
    target = SingleLabel(tuple(f"label {code}" for code in range(classes)))
    folder = write_run(tmp_path / "run", target, rows=rows)
    began = time.perf_counter()
    page = render_report(folder)
    assert time.perf_counter() - began < 60
    assert len(page) < 5_000_000
    assert "20 labels with most errors, of" in page
    metrics = json.loads((folder / "metrics.json").read_text())
    for path, texts in Page(page).figures.items():
        assert set(texts) == {number(value_at(metrics, path))}, path


def test_size_and_time_with_many_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TARGETS["single_label"], rows=100_000, texts=["word " * 100])
    began = time.perf_counter()
    write_report(folder)
    assert time.perf_counter() - began < 60, "10 s on two idle cores; here others are at work"
    assert (folder / "report.html").stat().st_size < 5_000_000


def test_report_needs_no_torch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TARGETS["single_label"])
    code = f"""
import sys
from accel_clf.cli.main import main
assert main(["report", {str(folder)!r}]) == 0
assert not {{"torch", "transformers", "datasets", "pandas"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found out before anything is trained."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    folder = write_run(tmp_path / "run", TARGETS["single_label"])
    with pytest.raises(ConfigError, match="matplotlib is not installed") as refused:
        write_report(folder)
    assert "accel_clf[report]" in str(refused.value)
    with pytest.raises(ConfigError, match="matplotlib"):
        with_report(load(None, {"report": True}), lambda: pytest.fail("trained"))


@pytest.fixture(scope="module")
def labelled(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reviews with a column of slices."""
    rows = [(row["text"], row["grade"], row["soup"], row["never"], "ab"[int(row["soup"])]) for row in read_csv(table)]
    header = ("text", "grade", "soup", "never", "part")
    return write_csv(tmp_path_factory.mktemp("data") / "labelled.csv", rows, header)


def settings(labelled: Path, tiny_bert: Path, output: Path, **others: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(tiny_bert)},
        "data": {"train": str(labelled), "validation": 0.25, "label": "grade", "slice": "part", "max_length": 64},
        "target": {"calibration": "temperature"},
        "training": {"epochs": 2, "learning_rate": 3e-3, "precision": "fp32"},
        "output": str(output),
        "report": True,
        **others,
    }


def test_trained_run(labelled: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """Of the validation rows, by the scores that were cross-fitted to them, before and after a temperature."""
    config = load(None, settings(labelled, tiny_bert, tmp_path / "run"))
    with_report(config, lambda: train(config))
    assert (tmp_path / "run" / "report.html").is_file()
    check_figures(tmp_path / "run", "validation")
    evidence = read_evidence(tmp_path / "run")
    predictions, errors = evidence.predictions, evidence.metrics["calibration"]["expected_calibration_error"]
    assert predictions is not None and predictions.after is not None
    for when, scores in (("before", predictions.before), ("after", predictions.after)):
        assert expected_calibration_error(scores, predictions.labels) == pytest.approx(errors[when], abs=1e-6)
    log_loss = -np.log(predictions.scores[np.arange(len(predictions.labels)), predictions.labels]).mean()
    assert log_loss == pytest.approx(evidence.results["log_loss"], abs=1e-6)
    facts = evidence.facts["splits"]
    assert (facts["train"]["rows"], facts["validation"]["rows"]) == (302, 101)


def test_trained_multi_label_run(labelled: Path, tiny_bert: Path, tmp_path: Path) -> None:
    several = settings(labelled, tiny_bert, tmp_path / "run", target={"thresholds": "f1", "calibration": "temperature"})
    several["data"] |= {"label": ["soup", "never"], "test": str(labelled)}
    config = load(None, several)
    with_report(config, lambda: train(config))
    check_figures(tmp_path / "run", "test")


def test_cross_validation(labelled: Path, tiny_bert: Path, tmp_path: Path) -> None:
    of_folds = settings(labelled, tiny_bert, tmp_path / "cv", folds=2, target={})
    of_folds["data"] |= {"validation": None, "test": str(labelled)}
    config = load(None, of_folds)
    with_report(config, lambda: cross_validate(config))
    page = check_figures(tmp_path / "cv", "out_of_fold")
    evidence = read_evidence(tmp_path / "cv")
    predictions, errors = evidence.predictions, evidence.metrics["calibration"]["expected_calibration_error"]
    assert predictions is not None and predictions.after is not None
    assert expected_calibration_error(predictions.after, predictions.labels) == pytest.approx(errors["after"], abs=1e-6)
    assert "Suspect labels" in page.text and "fold-1" in page.text
    assert all(text for *_, text in page.data["opened"])
    check_figures(tmp_path / "cv" / "fold-0", "test")
    (tmp_path / "cv" / "metrics.json").unlink()
    (tmp_path / "cv" / "fold-1" / "metrics.json").unlink()
    unfinished = render_report(tmp_path / "cv")
    assert "Not finished" in unfinished and "of 1 finished fold" in unfinished


def test_run_without_rows_to_evaluate(labelled: Path, tiny_bert: Path, tmp_path: Path) -> None:
    of_run = settings(labelled, tiny_bert, tmp_path / "run", target={})
    of_run["data"] |= {"validation": None}
    config = load(None, of_run)
    with_report(config, lambda: train(config))
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert ("training", "best_step") in page.figures and "Confusion" not in page.text


@pytest.mark.parametrize("target", [{}, {"calibration": "temperature"}])
def test_resumed_run_keeps_the_same(target: dict[str, Any], labelled: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """Also of a best model that was trained before the run was resumed, whose outputs are then computed again."""
    config = load(None, settings(labelled, tiny_bert, tmp_path / "run", target=target, report=False))
    train(config)
    names = ("validation.csv", "examples.csv", "rows.json", "metrics.json")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / "run" / name).unlink()
    train(config)
    assert {name: (tmp_path / "run" / name).read_bytes() for name in names} == before
