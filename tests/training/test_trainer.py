"""A run: what its folder holds, which is in the Hub's format, and that nothing is overwritten."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import UserError
from accel_clf.core.exit_codes import DONE, USAGE
from accel_clf.reports.summary import training_summary
from accel_clf.strategies.precision import WITHOUT_BF16, fast_at_bf16
from accel_clf.training.run import train
from tests.conftest import Cli, read_csv, write_csv

Refused = Callable[..., str]


def config(reviews: Path, tiny_bert: Path, output: Path, **sections: dict[str, Any]) -> Config:
    flags: dict[str, Any] = {
        "model": {"name": str(tiny_bert)},
        "data": {"train": str(reviews), "validation": 0.25, "max_length": 64},
        "training": {"learning_rate": 1e-3},
        "output": str(output),
    }
    for section, settings in sections.items():
        flags[section] = {**flags.get(section, {}), **settings}
    return load(None, flags)


def test_run_folder_is_complete(run: Path) -> None:
    names = sorted(path.name for path in run.iterdir())
    assert names == [
        "checkpoints", "config.yaml", "environment.json", "examples.csv", "metrics.json", "metrics.jsonl", "model",
        "predictions.csv", "rows.json", "validation.csv",
    ]  # fmt: skip
    results = json.loads((run / "metrics.json").read_text())
    assert results["validation"]["rows"] == 101
    assert results["test"]["rows"] == 403
    assert results["training"]["rows"] == 302
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} == {"train", "validation"}
    assert events[-1]["step"] == results["training"]["steps"] == 38
    assert json.loads((run / "environment.json").read_text())["versions"]["torch"] == torch.__version__


def test_predictions_agree_with_metrics(run: Path) -> None:
    rows = read_csv(run / "predictions.csv")
    results = json.loads((run / "metrics.json").read_text())
    correct = sum(row["label"] == row["predicted"] for row in rows)
    assert correct / len(rows) == pytest.approx(results["test"]["accuracy"])
    for row in rows:
        scores = {name: float(row[f"score:{name}"]) for name in ("negative", "positive")}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-6)
        assert float(row["score"]) == scores[row["predicted"]] == max(scores.values())


def test_hub_pipeline_predicts_the_same(run: Path, reviews: Path, cli: Cli) -> None:
    texts = [row["text"] for row in read_csv(reviews)][:40]
    expected = pipeline("text-classification", model=str(run / "model"))(texts)
    predictions = [json.loads(line) for line in cli("predict", run, *texts, "--json").stdout.splitlines()]
    assert [prediction["text"] for prediction in predictions] == texts
    for reference, prediction in zip(expected, predictions, strict=True):
        assert reference["label"] == prediction["label"]
        assert reference["score"] == pytest.approx(prediction["score"], abs=1e-5)


def test_seed_decides_the_weights(reviews: Path, tiny_bert: Path, tmp_path: Path, run: Path) -> None:
    settings = {"training": {"epochs": 2, "learning_rate": 1e-3}, "data": {"test": str(reviews)}}
    train(config(reviews, tiny_bert, tmp_path / "again", **settings))
    train(config(reviews, tiny_bert, tmp_path / "other", **{**settings, "training": {"epochs": 2, "seed": 1}}))
    folders = (run, tmp_path / "again", tmp_path / "other")
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]
    assert (run / "predictions.csv").read_bytes() == (tmp_path / "again" / "predictions.csv").read_bytes()


def test_finished_run_is_left_alone(
    reviews: Path, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = train(config(reviews, tiny_bert, tmp_path / "run"))
    mtimes = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    assert train(config(reviews, tiny_bert, tmp_path / "run")) == results
    assert "is finished" in capsys.readouterr().err
    assert mtimes == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(UserError, match=r"training\.epochs 1 -> 2"):
        train(config(reviews, tiny_bert, tmp_path / "run", training={"epochs": 2}))


def test_unfinished_run_keeps_its_settings(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """A run with a model resumes with the same settings only; one without a model has nothing to lose."""
    checkpoints = tmp_path / "run" / "checkpoints"
    train(config(reviews, tiny_bert, tmp_path / "run"))
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"is of a run with other settings or data: training\.epochs 1 -> 2"):
        train(config(reviews, tiny_bert, tmp_path / "run", training={"epochs": 2}))
    shutil.rmtree(checkpoints)
    with pytest.raises(UserError, match=r"unfinished run with other settings: training\.epochs 1 -> 2"):
        train(config(reviews, tiny_bert, tmp_path / "run", training={"epochs": 2}))
    train(config(reviews, tiny_bert, tmp_path / "run"))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 19, 19]
    for folder in (tmp_path / "run" / "model", checkpoints):
        shutil.rmtree(folder)
    (tmp_path / "run" / "metrics.json").unlink()
    assert train(config(reviews, tiny_bert, tmp_path / "run", training={"epochs": 2}))["training"]["steps"] == 38


def test_unknown_metric_is_refused_before_training(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nosuch cannot be used"):
        train(config(reviews, tiny_bert, tmp_path / "run", evaluation={"metrics": ["nosuch"]}))
    assert not (tmp_path / "run").exists()


def test_texts_without_words_have_no_baseline(tmp_path: Path, tiny_bert: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("ab"[n % 2], "xy"[n % 2]) for n in range(40)])
    results = train(config(path, tiny_bert, tmp_path / "run", evaluation={"baseline": True}))
    assert "baseline" not in results
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_folder_with_other_files_is_refused(reviews: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    message = refused(USAGE, "train", "--data.train", reviews, "--output", tmp_path)
    assert "thesis.tex" in message
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert "is a file" in refused(USAGE, "train", "--data.train", reviews, "--output", tmp_path / "thesis.tex")


def test_best_model_is_saved(reviews: Path, tiny_bert: Path, tmp_path: Path, cli: Cli) -> None:
    """Evaluated every 7 steps: the saved model has the best log loss of all of them."""
    settings = config(
        reviews, tiny_bert, tmp_path / "run", training={"epochs": 4}, evaluation={"every": 7, "metric": "log_loss"}
    )
    results = train(settings)
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["log_loss"] for line in log if line["event"] == "validation"}
    assert sorted(losses) == [*range(7, 76, 7), 76]
    best = min(losses, key=lambda step: losses[step])
    assert results["training"]["best_step"] == best
    assert results["validation"]["log_loss"] == losses[best]
    process = cli("evaluate", tmp_path / "run", "--data", reviews, "--json")
    assert process.returncode == DONE, process.stderr
    assert json.loads(process.stdout)["rows"] == 403


def test_patience_stops_a_run_early(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    settings = config(
        reviews,
        tiny_bert,
        tmp_path / "run",
        training={"epochs": 50, "learning_rate": 1e-12},
        evaluation={"patience": 3},
    )
    results = train(settings)
    assert results["training"]["stopped_early"]
    assert results["training"]["steps"] == 19 * (1 + 3)
    assert "stopped early" in training_summary(results, "runs/x")


def test_last_model_is_saved_without_validation(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    results = train(config(reviews, tiny_bert, tmp_path / "run", data={"validation": None}))
    assert "validation" not in results
    assert results["training"]["best_step"] == results["training"]["steps"] == 26
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_metrics_are_computed_per_slice(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    rows = read_csv(reviews)
    path = tmp_path / "sliced.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "lang"])
        writer.writerows([row["text"], row["label"], ["de", "en", "fr"][n % 3]] for n, row in enumerate(rows))
    results = train(config(path, tiny_bert, tmp_path / "run", data={"slice": "lang"}))
    slices = results["validation"]["slices"]
    assert sorted(slices) == ["de", "en", "fr"]
    assert sum(averages["rows"] for averages in slices.values()) == 101
    assert all(name in training_summary(results, "x") for name in slices)


def test_nan_loss_stops_the_run(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the loss is nan"):
        train(
            config(
                reviews,
                tiny_bert,
                tmp_path / "run",
                training={"learning_rate": 1e30, "epochs": 3, "max_grad_norm": None},
            )
        )


def test_bf16_keeps_float32_weights(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    train(config(reviews, tiny_bert, tmp_path / "run", training={"precision": "bf16"}))
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    reason = "as set" if fast_at_bf16() else f"as set; {WITHOUT_BF16}"
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["device"].endswith(f"bf16 ({reason})")


def test_fp16_is_refused_without_a_gpu(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, where fp16 is supported")
    with pytest.raises(UserError, match="fp16 and there is no GPU"):
        train(config(reviews, tiny_bert, tmp_path / "run", training={"precision": "fp16"}))


def test_folder_of_a_run_killed_at_its_start_is_used_again(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """Killed while it wrote its first file, of which only the temporary name exists."""
    output = tmp_path / "run"
    output.mkdir()
    (output / ".config.yaml-77").write_text("model:\n  na")
    assert "validation" in train(config(reviews, tiny_bert, output))


def test_metric_that_is_not_defined_is_left_out_of_the_log(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """As the area under a curve, where all validation rows have one label."""
    validation = write_csv(tmp_path / "validation.csv", [(f"film {number}", "positive") for number in range(8)])
    train(
        config(
            reviews, tiny_bert, tmp_path / "run",
            data={"validation": str(validation), "limit": 40}, evaluation={"metrics": ["roc_auc"]},
        )
    )  # fmt: skip
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    [validated] = [event for event in events if event["event"] == "validation"]
    assert "accuracy" in validated
    assert "roc_auc" not in validated
