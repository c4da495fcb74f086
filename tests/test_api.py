"""`import accel_clf`: the same results and errors as the command line's, from scripts, notebooks and launchers."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import accel_clf
from accel_clf.config.metric_names import METRICS
from accel_clf.core.errors import DataError
from tests.conftest import REPOSITORY, Cli, read_csv, write_csv


def settings(reviews: Path, tiny_bert: Path, output: Path) -> dict[str, Any]:
    return {
        "model": {"name": str(tiny_bert)},
        "data": {"train": str(reviews), "test": str(reviews), "max_length": 64},
        "training": {"epochs": 1, "learning_rate": 1e-3, "precision": "fp32"},
        "output": str(output),
    }


def run_python(code: str, *args: object, launcher: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *launcher, *(["-c", code] if code else []), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def test_exports_are_what_is_declared() -> None:
    exported = {name: getattr(accel_clf, name) for name in accel_clf.__all__}
    assert all(value.__module__.startswith("accel_clf.") for name, value in exported.items() if name != "__version__")
    assert set(accel_clf.__all__) == set(accel_clf._HOME) | {"__version__"}
    assert set(accel_clf.__all__) <= set(dir(accel_clf))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = accel_clf.nonsense


def test_import_is_light() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'sklearn', 'numpy', 'pydantic'}"
    assert run_python(f"import sys, accel_clf; sys.exit(bool({heavy} & set(sys.modules)))").returncode == 0
    assert run_python("import sys, accel_clf; accel_clf.train; sys.exit('torch' in sys.modules)").returncode == 0


def test_command_line_leaves_train_the_function() -> None:
    code = (
        "import importlib, pkgutil, accel_clf, accel_clf.cli\n"
        "for module in pkgutil.iter_modules(accel_clf.cli.__path__):\n"
        "    if module.name != '__main__':\n"
        "        importlib.import_module(f'accel_clf.cli.{module.name}')\n"
        "assert callable(accel_clf.train) and accel_clf.train.__name__ == 'train'\n"
        "assert callable(accel_clf.cross_validate)"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_trains_predicts_and_evaluates(reviews: Path, tiny_bert: Path, tmp_path: Path, cli: Cli) -> None:
    """Twice in a process, by a mapping, a file and a Config: the same run; and the command line's answers."""
    first = accel_clf.train(settings(reviews, tiny_bert, tmp_path / "first"))
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings(reviews, tiny_bert, tmp_path / "second")))
    second = accel_clf.train(path)
    third = accel_clf.train(accel_clf.Config.model_validate(settings(reviews, tiny_bert, tmp_path / "third")))
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in (first, second, third)]
    assert weights[0] == weights[1] == weights[2]
    texts = [row["text"] for row in read_csv(reviews)][:5]
    predictions = accel_clf.load(first.path).predict(texts)
    assert predictions == first.predict(iter(texts)) == second.predict(texts)
    lines = cli("predict", first.path, "--json", *texts).stdout.splitlines()
    assert [{"text": text, **prediction} for text, prediction in zip(texts, predictions, strict=True)] == [
        json.loads(line) for line in lines
    ]
    assert first.predict(texts[0]) == predictions[:1]
    assert first.predict([]) == []
    metrics = first.evaluate(reviews)
    test = first.metrics["test"]
    assert metrics.values == pytest.approx(
        {name: test[name] for name in METRICS["single_label"]}, abs=1e-6
    )  # other batches
    assert (metrics.rows, metrics.confusion) == (test["rows"], test["confusion"])
    assert metrics["accuracy"] == test["accuracy"]
    gaps = write_csv(tmp_path / "gaps.csv", [*((row["text"], row["label"]) for row in read_csv(reviews)), ("dull", "")])
    assert first.evaluate(gaps, incomplete="skip").rows == metrics.rows
    with pytest.raises(DataError, match="label"):
        first.evaluate(gaps)
    assert first.labels == ("negative", "positive")
    assert first.config.training.epochs == 1


def test_cross_validation(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    flags = settings(reviews, tiny_bert, tmp_path / "cv") | {"folds": 2}
    run = accel_clf.cross_validate(flags)
    assert [fold["fold"] for fold in run.metrics["each"]] == [0, 1]
    assert run.predict(["a fine film"])[0]["label"] in run.labels
    ensemble = run.metrics["test"]["ensemble"]
    assert run.evaluate(reviews).values == pytest.approx(
        {name: ensemble[name] for name in METRICS["single_label"]}, abs=1e-6
    )


def test_default_output_is_the_command_lines() -> None:
    from accel_clf.api import _settings

    assert _settings({}).output == _settings(accel_clf.Config()).output == "runs/demo"
    assert _settings({"data": {"train": "a/reviews.csv"}}, "-cv").output == "runs/reviews-cv"


def test_errors_are_the_command_lines(tmp_path: Path, cli: Cli) -> None:
    """The same classes and texts, but for where the setting came from."""
    with pytest.raises(accel_clf.ConfigError, match=r"unknown setting trainig") as unknown:
        accel_clf.train({"trainig": {"epochs": 1}})
    assert "did you mean training?" in str(unknown.value)
    missing = tmp_path / "missing.csv"
    with pytest.raises(accel_clf.DataError) as no_file:
        accel_clf.train({"data": {"train": str(missing)}, "output": str(tmp_path / "run")})
    done = cli("train", "--data.train", missing, "--output", tmp_path / "run")
    assert done.returncode == accel_clf.DataError.exit_code
    assert str(no_file.value) in done.stderr
    with pytest.raises(accel_clf.ConfigError, match="no such folder"):
        accel_clf.load(tmp_path / "nowhere")
    with pytest.raises(accel_clf.ConfigError, match="no such file"):
        accel_clf.train(tmp_path / "nowhere.yaml")


def test_undecodable_text_is_refused(run: Path) -> None:
    with pytest.raises(accel_clf.DataError, match="text 2: a lone surrogate"):
        accel_clf.load(run).predict(["fine", "caf\udce9"])


def test_works_inside_a_running_event_loop(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """As the cells of a notebook run."""

    async def cell() -> str:
        return accel_clf.train(settings(reviews, tiny_bert, tmp_path / "run")).predict("a fine film")[0]["label"]

    assert asyncio.run(cell()) in ("negative", "positive")


SCRIPT = """
import json, os, sys
import accel_clf
flags = json.loads(sys.argv[1])
run = accel_clf.train(flags)
again = accel_clf.train({**flags, "training": {**flags["training"], "seed": 1}, "output": flags["output"] + "-2"})
accuracy = run.evaluate(flags["data"]["test"])["accuracy"]
with open(sys.argv[2] + os.environ.get("RANK", ""), "w") as file:
    json.dump([run.predict("a fine film"), again.metrics["test"]["rows"], accuracy], file)
"""  # without a __main__ guard


def test_script_without_main_guard(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    done = run_python(SCRIPT, json.dumps(settings(reviews, tiny_bert, tmp_path / "run")), output)
    assert done.returncode == 0, done.stderr
    prediction, rows, _ = json.loads(output.read_text())
    assert prediction[0]["label"] in ("negative", "positive")
    assert rows == 403


CV_SCRIPT = """
import json, os, sys
import accel_clf
run = accel_clf.cross_validate(json.loads(sys.argv[1]))
with open(sys.argv[2] + os.environ["RANK"], "w") as file:
    json.dump([run.predict("a fine film"), run.metrics["folds"]], file)
"""


def launch(tmp_path: Path, script: str, flags: dict[str, Any]) -> list[Any]:
    """Run a script in two processes under `accelerate launch`; return what each has written."""
    path = tmp_path / "script.py"
    path.write_text(script)
    config = REPOSITORY / "accelerate_configs" / "multi_cpu.yaml"
    launcher = ("-m", "accelerate.commands.launch", "--config_file", str(config))
    done = run_python("", path, json.dumps(flags), tmp_path / "output", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert "cpu x 2 processes" in done.stderr
    return [json.loads((tmp_path / f"output{rank}").read_text()) for rank in range(2)]


def test_script_under_accelerate_launch(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """Two processes train twice, predict and evaluate: each gets the same results."""
    outputs = launch(tmp_path, SCRIPT, settings(reviews, tiny_bert, tmp_path / "run"))
    assert outputs[0] == outputs[1]


def test_cross_validation_under_accelerate_launch(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """The other process waits until rank 0 has put the folds together."""
    outputs = launch(tmp_path, CV_SCRIPT, settings(reviews, tiny_bert, tmp_path / "cv") | {"folds": 2})
    assert outputs[0] == outputs[1]
    assert outputs[0][1] == 2
