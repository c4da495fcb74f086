"""`accel-clf compare`: from the folders of runs to tables, JSON and an exit code."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.special import log_softmax

from accel_clf.cli.main import main
from accel_clf.core.files import write_json
from accel_clf.reports.compare.report import compare_runs
from accel_clf.reports.compare.requirements import Requirement
from accel_clf.reports.compare.run_rows import stored
from accel_clf.reports.compare.same_rows import same_rows
from accel_clf.reports.compare.weighted_metrics import COMPARED
from tests.conftest import read_csv, write_csv
from tests.reports.run_folders import make_run

HEADER = ("text", "label", "tags", "stars", "lang", "author")
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
KINDS: dict[str, dict[str, Any]] = {
    "single_label": {},
    "multi_label": {"label": "tags", "label_separator": "|"},
    "ordinal": {"label": "label", "target": {"type": "ordinal", "order": ("bad", "fair", "good")}},
    "regression": {"label": "stars", "target": {"type": "regression"}},
}
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows, three of each author."""
    rng = random.Random(0)
    lines = []
    for number in range(300):
        label = rng.choice(("bad", "fair", "good"))
        tags = "|".join(tag for tag in ("loud", "new") if rng.random() < 0.4)
        text = f"row {number} {SCRIPT}" if number % 50 == 0 else f"row {number} is {rng.choice(('long', 'short'))}"
        lines.append((text, label, tags, str(rng.random() * 5), rng.choice(("de", "en")), f"author {number // 3}"))
    return write_csv(tmp_path_factory.mktemp("rows") / "test.csv", lines, HEADER)


@pytest.fixture(scope="module")
def runs(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good run, one that is slightly different, and one that is much worse."""
    folder = tmp_path_factory.mktemp("runs")
    noise = {"good": 0.1, "similar": 0.12, "worse": 3.0}
    return {name: make_run(folder / name, rows, of, slice="lang") for name, of in noise.items()}


@pytest.fixture
def compared(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Compare runs; return the JSON, and the exit code in it."""

    def run(*args: object) -> dict[str, Any]:
        capsys.readouterr()
        code = main(["compare", *map(str, args), "--json"])
        content: dict[str, Any] = json.loads(capsys.readouterr().out)
        return content | {"exit_code": code}

    return run


Compared = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str, rows: Path, tmp_path: Path, compared: Compared) -> None:
    """Values are those of the metrics that runs have; the noisier run is worse by all of them."""
    from accel_clf.run_folder.answers import read_answers, read_target

    folders = [
        make_run(tmp_path / name, rows, noise, slice="lang", **KINDS[kind]) for name, noise in (("a", 0.1), ("b", 3.0))
    ]
    result = compared(*folders)
    assert result["target"] == kind
    assert result["rows"]["count"] == 300
    (pair,) = result["comparisons"]
    assert list(pair["metrics"]) == list(COMPARED[kind])
    for side, folder in zip(("baseline", "run"), folders, strict=True):
        target = read_target(folder)
        stored = read_answers(folder / "predictions.csv", target, target)
        expected = target.metrics(stored.labels, stored.scores, decided=stored.decided)
        for name, of in pair["metrics"].items():
            assert of[side] == pytest.approx(expected[name]), name
        for name, of in pair["labels"].items():
            assert of[side] == pytest.approx(expected.per_class[name].f1)
            assert of["rows"] == expected.per_class[name].rows
    assert all(of["verdict"] == "worse" for of in pair["metrics"].values())
    assert all(of["interval"][0] < of["difference"] < of["interval"][1] for of in pair["metrics"].values())
    assert set(pair["slices"]) == {"de", "en"}
    assert sum(of["rows"] for of_slice in pair["slices"].values() for of in [*of_slice.values()][:1]) == 300
    different = pair["different_rows"]
    assert different["worse"] + different["better"] + different["other"] == different["count"] > 0
    assert (pair["mcnemar"] is None) == (kind == "regression")


def test_text(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(runs[name]) for name in ("good", "similar", "worse")]
    assert main(["compare", *arguments, "--require", "accuracy not worse by 0.05"]) == 3
    text = capsys.readouterr().out
    assert f"baseline: {runs['good']}" in text
    assert "300 test rows of " in text
    assert "95% intervals: paired bootstrap, 2,000 resamples; of accuracy: the score interval" in text
    for table in ("p (Holm)", "f1 of label", "accuracy of", "rows right: by both", "only the baseline is right"):
        assert table in text
    assert "\nmet: accuracy not worse by 0.05: " in text
    assert "\nNOT MET: accuracy not worse by 0.05: " in text
    assert text.count("shown to be worse by more than 0.05") == 1


def test_requirements(runs: dict[str, Path], compared: Compared) -> None:
    """The same claims of a run that is nearly the same, and of one that is worse."""
    cases = {
        "accuracy not worse by 0.05": (True, False),
        "accuracy shown not worse by 0.2": (True, False),
        "accuracy shown not worse by 0": (False, False),
        "accuracy better by 0": (False, False),
        "log_loss not worse by 0.2": (True, False),
        "f1:good not worse by 0.1": (True, False),
        "lang=de: macro_f1 not worse by 0.1": (True, False),
    }
    for claim, expected in cases.items():
        for name, is_met in zip(("similar", "worse"), expected, strict=True):
            result = compared(runs["good"], runs[name], "--require", claim)
            assert result["met"] is is_met, (claim, name)
            assert result["exit_code"] == (0 if is_met else 3)
    reverse = compared(runs["worse"], runs["good"], "--require", "accuracy better by 0.05")
    assert reverse["met"]
    assert reverse["requirements"][0]["state"] == "better"
    assert (
        compared(runs["good"], runs["similar"], "--require", "accuracy better by 0.3")["requirements"][0]["state"]
        == "not better"
    )


def test_requirements_are_corrected_for_their_number(runs: dict[str, Path], compared: Compared) -> None:
    alone = compared(runs["good"], runs["worse"], "--require", "log_loss not worse by 0.1")["requirements"]
    more = [word for margin in range(9) for word in ("--require", f"accuracy not worse by 0.{margin + 1}")]
    among = compared(runs["good"], runs["worse"], "--require", "log_loss not worse by 0.1", *more)["requirements"]
    assert among[0]["corrected_p"] > alone[0]["corrected_p"]


def test_what_is_not_shown_is_explained(runs: dict[str, Path]) -> None:
    """The interval holds the margin only where it does; else it is the correction that leaves a doubt."""
    claims = [
        f"{metric} {claim} by {margin / 200}"
        for metric in ("accuracy", "log_loss", "f1:good")
        for claim in ("not worse", "better")
        for margin in range(40)
    ]
    rows = same_rows(stored([runs["good"], runs["worse"]], None, {}))
    explained = set()
    for outcome in compare_runs(rows, requirements=[Requirement.parse(claim) for claim in claims]).outcomes:
        low, high = outcome.interval
        sign = (1 if outcome.requirement.claim == "better" else -1) * (
            -1 if "loss" in outcome.requirement.metric else 1
        )
        if outcome.state == "nothing":
            explained.add(outcome.explanation)
            holds = low <= sign * outcome.requirement.margin <= high
            assert ("the interval holds the margin" in outcome.explanation) == holds
            assert ("after the correction for 240 requirements" in outcome.explanation) != holds
    assert len(explained) > 1


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("accuracy", "METRIC not worse by MARGIN"),
        ("accuracy not worse by one", "the margin is 'one'"),
        ("accuracy not worse by 1%", "the margin is '1%'"),
        ("accuracy not worse by -0.01", "the margin is '-0.01'"),
        ("accurracy not worse by 0.01", "did you mean accuracy?"),
        ("f1:great not worse by 0.01", "metric 'f1:great'"),
        ("lang=fr: accuracy not worse by 0.01", "no row has 'fr' in column 'lang'"),
        ("country=de: accuracy not worse by 0.01", "the slices' column, 'lang'"),
        ("ece not worse by 0.01", "of which resamples say nothing"),
    ],
)
def test_requirements_that_cannot_be_checked(claim: str, message: str, runs: dict[str, Path], refused: Refused) -> None:
    assert message in refused(2, "compare", runs["good"], runs["worse"], "--require", claim)


def test_many_runs_are_corrected(runs: dict[str, Path], compared: Compared) -> None:
    (alone,) = compared(runs["good"], runs["similar"])["comparisons"]
    among = compared(runs["good"], runs["similar"], runs["worse"])["comparisons"]
    assert [pair["run"] for pair in among] == [str(runs["similar"]), str(runs["worse"])]
    for name, of in alone["metrics"].items():
        assert of["p"] == of["corrected_p"] == among[0]["metrics"][name]["p"]
        assert among[1]["metrics"][name]["corrected_p"] >= among[1]["metrics"][name]["p"]


def test_folds(rows: Path, tmp_path: Path, compared: Compared, refused: Refused) -> None:
    """The corrected t-test of folds' metrics; folds that are not the same are no pairs."""
    noise = {"a": 0.1, "b": 3.0}
    folders = [make_run(tmp_path / name, rows, of, folds=5, slice="lang") for name, of in noise.items()]
    result = compared(*folders, "--require", "accuracy not worse by 0.05")
    assert result["exit_code"] == 3
    assert result["rows"]["folds"] == 5
    assert result["resamples"] == 2000
    (pair,) = result["comparisons"]
    accuracy = pair["metrics"]["accuracy"]
    assert accuracy["method"] == "corrected resampled t-test"
    tables = [read_csv(folder / "out_of_fold.csv") for folder in folders]
    right = np.array([[line["label"] == line["predicted"] for line in table] for table in tables])
    folds = np.array([int(line["fold"]) for line in tables[0]])
    expected = [right[1][folds == fold].mean() - right[0][folds == fold].mean() for fold in range(5)]
    assert accuracy["folds"] == pytest.approx(expected)
    assert accuracy["difference"] == pytest.approx(np.mean(expected))
    assert pair["mcnemar"]["p"] is None, "rows of a fold share a model"
    ten = make_run(tmp_path / "ten", rows, 0.1, folds=10)
    message = refused(65, "compare", folders[0], ten)
    assert "(5 folds)" in message
    assert "(10 folds)" in message
    assert "--data FILE" in message


@pytest.mark.parametrize("folds", [0, 5])
def test_models_that_answer_alike_may_differ_in_other_rows(
    folds: int, rows: Path, tmp_path: Path, compared: Compared
) -> None:
    """Within as much as of a share of these rows; a slice has fewer."""
    folders = [make_run(tmp_path / name, rows, 0.1, folds=folds, slice="lang") for name in "ab"]
    for of in ("", "lang=de: "):
        for metric in ("accuracy", "macro_f1", "f1:good"):
            for margin, is_met in (("0.000001", False), ("0.1", True)):
                claim = f"{of}{metric} shown not worse by {margin}"
                result = compared(*folders, "--require", claim)
                assert result["met"] is is_met, claim
                low, high = result["requirements"][0]["interval"]
                assert low < 0 < high


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "weighted_f1", "f1:good"])
def test_a_few_rows_show_nothing_however_alike_folds_are(
    metric: str, rows: Path, tmp_path: Path, compared: Compared
) -> None:
    """One right answer in each of three folds is made wrong, which has a p-value of 1/4 by McNemar's test."""
    folders = [make_run(tmp_path / name, rows, 0.1, folds=3) for name in "ab"]
    path = folders[1] / "out_of_fold.csv"
    lines = read_csv(path)
    for fold in range(3):
        right = (line for line in lines if line["fold"] == str(fold) and line["label"] == line["predicted"] == "good")
        next(right)["predicted"] = "bad"
    write_csv(path, [tuple(line.values()) for line in lines], tuple(lines[0]))
    result = compared(*folders, "--metric", metric, "--require", f"{metric} not worse by 0.005")
    of = result["comparisons"][0]["metrics"][metric]
    assert of["difference"] < -0.005
    assert of["p"] >= 0.25
    assert of["interval"][0] < of["difference"] - 0.005
    assert of["verdict"] == "not shown"
    assert result["met"]
    assert any("fewer than 10 answers" in note for note in result["notes"])


def test_groups_are_drawn_together(runs: dict[str, Path], compared: Compared) -> None:
    (of_rows,) = compared(runs["good"], runs["worse"])["comparisons"]
    result = compared(runs["good"], runs["worse"], "--group", "author")
    (of_groups,) = result["comparisons"]
    assert result["rows"]["groups"] == 100
    assert any("100 groups" in note for note in result["notes"])
    assert of_groups["metrics"]["accuracy"]["method"] == "paired bootstrap"
    assert of_groups["mcnemar"]["p"] is None
    assert of_rows["mcnemar"]["p"] is not None
    assert of_groups["metrics"]["accuracy"]["difference"] == of_rows["metrics"]["accuracy"]["difference"]


def test_group_column_of_the_run(rows: Path, tmp_path: Path, compared: Compared) -> None:
    folders = [make_run(tmp_path / name, rows, 0.2, seed=seed, group="author") for seed, name in enumerate("ab")]
    assert compared(*folders)["rows"]["groups"] == 100


def test_labels_in_another_order(rows: Path, runs: dict[str, Path], tmp_path: Path, compared: Compared) -> None:
    other = make_run(tmp_path / "other", rows, 3.0, seed=0, names=("good", "bad", "fair"), slice="lang")
    (pair,) = compared(other, runs["good"])["comparisons"]
    (mirrored,) = compared(runs["good"], other)["comparisons"]
    for name, of in pair["metrics"].items():
        assert of["difference"] == pytest.approx(-mirrored["metrics"][name]["difference"])


def test_validation_rows(rows: Path, tmp_path: Path, compared: Compared) -> None:
    """Their probabilities are cross-fitted, as those of metrics.json are; a note says that the rows have had a say."""
    folders = [make_run(tmp_path / name, rows, 0.5, seed=seed, slice="lang") for seed, name in enumerate("ab")]
    temperatures = {"0": 0.5, "1": 2.0}
    for folder in folders:
        lines = read_csv(folder / "predictions.csv")
        with_parts = [(*line.values(), str(number % 2)) for number, line in enumerate(lines)]
        (folder / "predictions.csv").unlink()
        write_csv(folder / "validation.csv", with_parts, (*lines[0], "part"))
        write_json(folder / "temperatures.json", temperatures)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["data"] |= {"validation": config["data"]["test"], "test": None}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = compared(*folders)
    assert result["rows"]["kind"] == "validation"
    assert "flattered" in result["notes"][0]
    lines = read_csv(folders[1] / "validation.csv")
    logits = np.array([[float(line[f"logit:{label}"]) for label in ("bad", "fair", "good")] for line in lines])
    scaled = logits / np.array([temperatures[line["part"]] for line in lines])[:, None]
    codes = [("bad", "fair", "good").index(line["label"]) for line in lines]
    expected = -log_softmax(scaled, axis=1)[np.arange(len(lines)), codes].mean()
    assert result["comparisons"][0]["metrics"]["log_loss"]["run"] == pytest.approx(expected)


def test_slices_that_the_run_has_kept(rows: Path, tmp_path: Path, compared: Compared) -> None:
    """Where their source is gone."""
    source = tmp_path / "rows.csv"
    shutil.copy(rows, source)
    folders = [make_run(tmp_path / name, source, 0.5, seed=seed, slice="lang") for seed, name in enumerate("ab")]
    with_source = compared(*folders)["comparisons"][0]["slices"]
    for folder in folders:
        kept = [(str(number), line["lang"]) for number, line in enumerate(read_csv(source))]
        write_csv(folder / "slices.csv", kept, ("row", "slice"))
    source.unlink()
    assert compared(*folders)["comparisons"][0]["slices"] == with_source


def test_different_labels_or_kinds_are_refused(
    rows: Path, runs: dict[str, Path], tmp_path: Path, refused: Refused
) -> None:
    two = [line if line["label"] != "fair" else {**line, "label": "awful"} for line in read_csv(rows)]
    source = write_csv(tmp_path / "two.csv", [tuple(line.values()) for line in two], HEADER)
    message = refused(2, "compare", runs["good"], make_run(tmp_path / "two", source, 0.1))
    assert "only " in message
    assert "'awful'" in message
    number = make_run(tmp_path / "number", rows, 0.1, **KINDS["regression"])
    assert "a number, stars (regression)" in refused(2, "compare", runs["good"], number)


def test_different_rows(
    rows: Path, runs: dict[str, Path], tmp_path: Path, compared: Compared, refused: Refused
) -> None:
    """Rows of another file are found by their texts; those that are not in both are compared only if asked for."""
    lines = [tuple(line.values()) for line in read_csv(rows)]
    copy = write_csv(tmp_path / "copy.csv", lines[::-1], HEADER)
    of_copy = make_run(tmp_path / "of_copy", copy, 0.1)
    result = compared(runs["good"], of_copy)
    assert result["rows"]["count"] == 300
    assert "copy.csv" in result["rows"]["source"]
    fewer = write_csv(tmp_path / "fewer.csv", [*lines[100:], ("a new row", *lines[0][1:])], HEADER)
    of_fewer = make_run(tmp_path / "of_fewer", fewer, 0.1)
    message = refused(65, "compare", runs["good"], of_fewer)
    assert "of which 200 are the same" in message
    assert "--common" in message
    result = compared(runs["good"], of_fewer, "--common")
    assert result["rows"]["count"] == 200
    assert result["rows"]["left_out"] == {str(runs["good"]): 100, str(of_fewer): 1}
    strangers = [(f"{line[0]}, elsewhere", *line[1:]) for line in lines]
    nothing = make_run(tmp_path / "nothing", write_csv(tmp_path / "new.csv", strangers, HEADER), 0.1)
    assert "no row of" in refused(65, "compare", runs["good"], nothing, "--common")


def test_other_labels_of_the_same_rows(
    rows: Path, runs: dict[str, Path], tmp_path: Path, compared: Compared, refused: Refused
) -> None:
    lines = [tuple(line.values()) for line in read_csv(rows)]
    changed = "bad" if lines[7][1] != "bad" else "good"
    lines[7] = (lines[7][0], changed, *lines[7][2:])
    corrected = write_csv(tmp_path / "corrected.csv", lines, HEADER)
    other = make_run(tmp_path / "other", corrected, 0.1)
    message = refused(65, "compare", runs["good"], other)
    assert "1 of 300 rows have different labels in these runs; row 7: " in message
    result = compared(runs["good"], other, "--common")
    assert result["rows"]["count"] == 299
    assert "1 rows with different labels are left out" in result["notes"][0]


def test_texts_that_changed_between_two_cross_validations(rows: Path, tmp_path: Path, refused: Refused) -> None:
    source = tmp_path / "rows.csv"
    shutil.copy(rows, source)
    first = make_run(tmp_path / "first", source, 0.1, folds=3)
    source.write_text(source.read_text().replace("is long", "is very long"))
    assert "had other texts when" in refused(65, "compare", first, make_run(tmp_path / "second", source, 0.1, folds=3))


def test_a_source_that_is_gone(rows: Path, tmp_path: Path, compared: Compared, refused: Refused) -> None:
    """Rows of one source are compared without their texts; those of two cannot be told to be the same."""
    source, other = tmp_path / "rows.csv", tmp_path / "other.csv"
    for path in (source, other):
        shutil.copy(rows, path)
    first, second = (make_run(tmp_path / name, source, 0.3, seed=seed) for seed, name in enumerate("ab"))
    of_other = make_run(tmp_path / "c", other, 0.3, seed=2)
    source.unlink()
    result = compared(first, second)
    assert "cannot be read" in result["notes"][0]
    assert all("text" not in row for row in result["comparisons"][0]["different_rows"]["listed"])
    message = refused(65, "compare", first, of_other)
    assert "their texts cannot be compared" in message
    assert "--data FILE" in message


def test_names_in_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Long ones leave room for both answers and the text; none moves the cursor, and an empty slice has a name."""
    labels = [f"{letter}{chr(0x202E)}\n{chr(27)}[2J{letter * 5000}" for letter in "xyz"]
    lines = [(f"text {number}", labels[number % 3], "" if number % 2 else "de") for number in range(90)]
    rows = write_csv(tmp_path / "rows.csv", lines, ("text", "label", "lang"))
    runs = [str(make_run(tmp_path / name, rows, noise, slice="lang")) for name, noise in (("a", 0.1), ("b", 3.0))]
    claims = ["--require", "lang=: accuracy not worse by 0.9"]
    assert main(["compare", *runs, "--metric", "accuracy", "--metric", f"f1:{labels[0]}", *claims]) == 0
    text = capsys.readouterr().out
    assert all(line.isprintable() for line in text.splitlines())
    assert re.search(r"^  \(empty\) .* 45$", text, re.MULTILINE)
    listed = re.findall(r"^    row .*", text, re.MULTILINE)
    assert listed
    for line in listed:
        assert re.fullmatch(r"    row \d+, [xyz]\S? .*…: [xyz].*… -> [xyz].*…  text \d+", line)
        assert len(line) <= 100


def test_unfinished_run(runs: dict[str, Path], rows: Path, tmp_path: Path, refused: Refused) -> None:
    live = make_run(tmp_path / "live", rows, 0.1)
    for name in ("predictions.csv", "metrics.json"):
        (live / name).unlink()
    for words in ((runs["good"], live), (live, runs["good"], "--rows", "test")):
        assert f"{live}: an unfinished run" in refused(65, "compare", *words)


def test_runs_without_kept_answers(runs: dict[str, Path], rows: Path, tmp_path: Path, refused: Refused) -> None:
    bare = make_run(tmp_path / "bare", rows, 0.1)
    (bare / "predictions.csv").unlink()
    message = refused(65, "compare", runs["good"], bare)
    assert f"{bare}: none" in message
    assert "--data FILE" in message
    damaged = make_run(tmp_path / "damaged", rows, 0.1)
    (damaged / "predictions.csv").write_text("row,label\n1,good\n")
    assert "cannot be read" in refused(1, "compare", runs["good"], damaged)


def test_usage(runs: dict[str, Path], tmp_path: Path, refused: Refused) -> None:
    good, worse = runs["good"], runs["worse"]
    assert "two or more" in refused(2, "compare", good)
    assert "named twice" in refused(2, "compare", good, good)
    assert "no such folder" in refused(2, "compare", good, tmp_path / "nowhere")
    assert "compare.html" in refused(2, "compare", good, worse, "--output", tmp_path / "page.txt")
    assert "100 resamples or more" in refused(2, "compare", good, worse, "--resamples", 5)
    assert "exclude each other" in refused(2, "compare", good, worse, "--rows", "test", "--data", "x.csv")
    assert "no column 'nowhere'" in refused(65, "compare", good, worse, "--slice", "nowhere")
    assert "did you mean macro_f1?" in refused(2, "compare", good, worse, "--metric", "macro_f")


def test_listed_rows(runs: dict[str, Path], rows: Path, compared: Compared) -> None:
    """Of each kind as many as asked for, with bounded texts; none without a word where they are not to leave."""
    table = read_csv(rows)
    different = compared(runs["good"], runs["worse"], "--examples", 4)["comparisons"][0]["different_rows"]
    kinds = [row["kind"] for row in different["listed"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        kind: min(4, different[kind]) for kind in ("worse", "better", "other") if different[kind]
    }
    for row in different["listed"]:
        assert row["text"] == table[row["row"]]["text"]
        assert row["label"] == table[row["row"]]["label"]
        assert row["baseline"] != row["run"]
        assert (row["kind"] == "worse") == (row["baseline"] == row["label"])
    without = compared(runs["good"], runs["worse"], "--texts", "none")
    assert all("text" not in row for row in without["comparisons"][0]["different_rows"]["listed"])


def test_rows_of_a_file(run: Path, reviews: Path, tmp_path: Path, compared: Compared) -> None:
    """--data: each run answers; where it is the file of the test rows, as in training."""
    other = tmp_path / "other"
    shutil.copytree(run, other)
    config = json.loads((other / "model" / "config.json").read_text())
    names = config["id2label"]
    config["id2label"] = {"0": names["1"], "1": names["0"]}  # which turns all of its answers round
    config["label2id"] = {name: int(code) for code, name in config["id2label"].items()}
    (other / "model" / "config.json").write_text(json.dumps(config))
    result = compared(run, other, "--data", reviews)
    accuracy = result["comparisons"][0]["metrics"]["accuracy"]
    assert accuracy["run"] == pytest.approx(1 - accuracy["baseline"])
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert accuracy["baseline"] == pytest.approx(metrics["accuracy"], abs=0.01)
    assert result["comparisons"][0]["different_rows"]["count"] == 403
