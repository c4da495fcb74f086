"""Model cards of runs of every kind: the Hub takes their metadata, their figures are the run's, their code runs."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

import accel_clf
from accel_clf.cli.main import main
from accel_clf.core.exit_codes import DONE, USAGE
from accel_clf.reports.hub.card_facts import Facts
from accel_clf.reports.hub.card_metadata import CardOptions, card_data, check_options
from accel_clf.reports.hub.card_sources import hub_id
from accel_clf.reports.hub.markdown import escape, table
from tests.conftest import write_csv
from tests.cross_validation.conftest import make_settings
from tests.hub_standin import metadata_errors
from tests.pair_forms import make_encoder, write_pairs
from tests.pair_forms import settings as pair_settings
from tests.training.test_kinds import settings_of
from tests.training.test_windows import settings as windows_settings

TEXT, PAIR = "Text to classify.", "The text beside it."
HOSTILE = ("a: b | c", "`x` *y* [z](http://evil.example)", "<script>alert(1)</script>", "line\nbreak", "---", "$x$ & ~")
FLAGS = ("--license", "apache-2.0", "--language", "en", "--language", "de")
Make = Callable[[Path], Path]


@pytest.fixture(scope="module")
def makers(table: Path, tiny_bert: Path, tiny_xlmr: Path, translations: Path, reviews: Path) -> dict[str, Make]:
    """What makes a run, or a cross-validation, of each kind in a folder."""

    def quick(name: str) -> dict[str, Any]:
        settings = deepcopy(settings_of(name, table, tiny_bert, Path("run")))
        settings["training"]["epochs"], settings["data"]["near_duplicates"] = 1, False
        settings["evaluation"]["baseline"] = name == "single_label"
        return settings

    def of_kind(name: str) -> Make:
        settings = quick(name)
        return lambda folder: accel_clf.train({**settings, "output": str(folder / "run")}).path

    def folds(name: str) -> Make:
        settings = {**quick(name), "folds": 2}
        settings["target"].pop("calibration", None)
        settings["data"]["test"] = None
        return lambda folder: accel_clf.cross_validate({**settings, "output": str(folder / "cv")}).path

    def languages(folder: Path) -> Path:
        settings = make_settings(tiny_xlmr, translations, folder / "cv", folds=2)
        settings["data"]["test"], settings["training"]["epochs"] = str(translations), 1
        return accel_clf.cross_validate(settings).path

    def pairs(folder: Path) -> Path:
        return accel_clf.train(
            pair_settings(folder, make_encoder(folder / "bert", "bert"), write_pairs(folder / "pairs.csv"))
        ).path

    def windows(folder: Path) -> Path:
        settings = windows_settings("demo", reviews, folder / "run", {"stride": 4})
        settings["training"]["epochs"] = 1
        return accel_clf.train(settings).path

    return {
        **{name: of_kind(name) for name in ("single_label", "multi_label", "ordinal", "regression")},
        "multi_label in folds": folds("multi_label"),
        "languages in folds": languages,
        "pairs": pairs,
        "windows": windows,
    }


KINDS = (
    *("single_label", "multi_label", "ordinal", "regression", "multi_label in folds", "languages in folds"),
    *("pairs", "windows"),
)


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, makers: dict[str, Make], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run or a cross-validation, and beside it `dry`, what would be pushed of it."""
    folder = tmp_path_factory.mktemp("made")
    run = makers[request.param](folder)
    assert main(["push", str(run), "me/model", *FLAGS, "--dry_run", str(folder / "dry")]) == DONE
    return run


def card_of(run: Path) -> str:
    return (run.parent / "dry" / "README.md").read_text()


def test_the_hub_takes_the_metadata(made: Path) -> None:
    text = card_of(made)
    assert metadata_errors(text) == []
    card = ModelCard(text)
    assert str(card) == text, "what huggingface_hub reads is what is there"
    data = card.data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["language"] == ["en", "de"]
    assert "base_model" not in data, "that of a local folder is not on the Hub"
    assert data["library_name"] == ("accel_clf" if "cv" in made.name else "transformers")
    assert "co2" not in text.lower()


def test_figures_are_the_runs(made: Path) -> None:
    results = json.loads((made / "metrics.json").read_text())
    best = results["test"] if "test" in results else results.get("out_of_fold") or results["validation"]
    best = best.get("ensemble", best)
    card = ModelCard(card_of(made))
    [model] = card.data.to_dict()["model-index"]
    [metric, *_] = model["results"][0]["metrics"]
    name = next(name for name in best if name != "rows")
    assert metric["value"] == pytest.approx(best[name], abs=1e-6)
    assert f"{best[name]:.4f}" in card.text
    assert f": {best['rows']:,}\n" in card.text
    for slice_name, of in best.get("slices", {}).items():
        assert re.search(
            rf"\| {slice_name} \| {of['rows']} \| {of['accuracy']:.4f} \|.*Accuracy: 0\.\d+ to ", card.text
        )
    for split in Facts.read(made, "me/model").splits:
        for name, (low, high) in split.intervals.items():
            assert low <= split.metrics[name] <= high, (split.title, name)
        assert split.intervals, f"{split.title}: of none is it known how sure it is"
    if (made / "folds.json").is_file():
        digests = [json.loads((made / "folds.json").read_text())["rows"]]
    else:
        digests = [facts["digest"] for facts in json.loads((made / "rows.json").read_text())["splits"].values()]
    assert all(f"`{digest}`" in card.text for digest in digests)


def test_code_of_the_card_runs(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By transformers alone and by accel_clf, on what would be pushed, with the same answer."""
    pushed = made.parent / "dry"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repository: repository)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, name: f"{repository}/{name}")
    printed = []
    for block in re.findall(r"```python\n(.*?)```", card_of(made), re.DOTALL):
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(block.replace("me/model", str(pushed)), "a card", "exec"), {})
        printed.append(out.getvalue())
    [by_transformers, by_us] = printed
    run = accel_clf.load(made)
    [answer] = run.predict([{"text": TEXT, "text_pair": PAIR}] if run.config.data.pair else [TEXT])
    assert by_us == f"{[answer]}\n"
    if "value" in answer:
        [number] = re.findall(r"-?\d+\.\d+", by_transformers)
        assert float(number) == pytest.approx(answer["value"], rel=1e-4)
    elif "labels" in answer:
        assert by_transformers.strip() == str(answer["labels"])
    else:
        assert re.search(rf"\b{answer['label']}\b", by_transformers)
        numbers = [float(number) for number in re.findall(r"\d\.\d+", by_transformers)]
        assert max(numbers) == pytest.approx(max(answer["scores"].values()), abs=1e-4)


def test_nothing_of_this_machine_is_pushed(made: Path) -> None:
    """No folder, no text of the training data, no table of answers; and what is there loads again, to be pushed."""
    pushed, config = made.parent / "dry", accel_clf.load(made).config
    files = [path for path in pushed.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix == ".csv" or path.name in ("environment.json", "metrics.jsonl")]
    with Path(config.data.train).open(encoding="utf-8", newline="") as file:
        texts = [row[config.data.text_columns[0]] for row in csv.DictReader(file)]
    for path in files:
        content = path.read_bytes()
        for folder in {Path(name).parent for name in (config.data.train, config.model.name, config.output)}:
            assert len(folder.parts) < 3 or str(folder).encode() not in content, path
        assert not any(text.encode() in content for text in texts if len(text) > 30), path
    again = pushed.with_name("again")
    assert main(["push", str(pushed), "me/model", *FLAGS, "--dry_run", str(again)]) == DONE
    names = [sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) for folder in (pushed, again)]
    assert names[0] == names[1]
    assert (again / "config.yaml").read_bytes() == (pushed / "config.yaml").read_bytes()


def test_hostile_words(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [
        (f"text {number} of {number % len(HOSTILE)}", HOSTILE[number % len(HOSTILE)], HOSTILE[-1 - number % 2])
        for number in range(90)
    ]
    data = write_csv(tmp_path / "a: b |<b>.csv", rows, ("text", "the: |label|", "<i>slice"))
    settings = {
        "model": {"name": str(tiny_bert)},
        "data": {
            "train": str(data),
            "label": "the: |label|",
            "slice": "<i>slice",
            "max_length": 16,
            "near_duplicates": False,
        },
        "output": str(tmp_path / "run"),
    }
    run = accel_clf.train(settings).path
    assert main(["push", str(run), "me/model", *FLAGS, "--dry_run", str(tmp_path / "dry")]) == DONE
    text = (tmp_path / "dry" / "README.md").read_text()
    assert metadata_errors(text) == []
    card = ModelCard(text)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(card.text)
    assert not re.search(r"<(script|i|b|a href=\"http://evil)", html)
    for name in HOSTILE:
        shown = name.replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert f">{shown}</td>" in html
    for rows_of_table in re.findall(r"<table>(.*?)</table>", html, re.DOTALL):
        assert (
            len({len(re.findall("<t[hd]", row)) for row in re.findall(r"<tr>(.*?)</tr>", rows_of_table, re.DOTALL)})
            == 1
        )
    [answer] = accel_clf.load(tmp_path / "dry").predict(["text"])
    assert set(answer["scores"]) == set(HOSTILE)


def test_words_of_data_stay_in_their_cell() -> None:
    cells = [escape(text) for text in ("a\\|b", "\u202egpj.exe", "x" * 500, "\x00\x1b[31m", "www.evil.example")]
    html = MarkdownIt("commonmark").enable("table").render(table(["word"], [[cell] for cell in cells]))
    assert html.count("<td") == len(cells)
    assert "\u202e" not in html
    assert len(cells[2]) < 100


def facts_of(run: Path, **settings: Any) -> Facts:
    facts = Facts.read(run, "me/model")
    changes = {
        section: getattr(facts.config, section).model_copy(update=values) for section, values in settings.items()
    }
    return Facts(**{**vars(facts), "config": facts.config.model_copy(update=changes)})


def test_ids_of_the_hub(run: Path) -> None:
    on_hub = facts_of(
        run, model={"name": "xlm-roberta-base"}, data={"train": "owner/reviews", "test": "test", "revision": "v1"}
    )
    data = card_data(on_hub, CardOptions("mit")).to_dict()
    assert data["base_model"] == "xlm-roberta-base"
    assert data["datasets"] == ["owner/reviews"]
    [model] = data["model-index"]
    assert model["results"][0]["dataset"] == {
        "name": "owner/reviews",
        "type": "owner/reviews",
        "split": "test",
        "revision": "v1",
    }
    here = card_data(facts_of(run), CardOptions("mit", base_model="owner/bert", dataset="owner/data")).to_dict()
    assert (here["base_model"], here["datasets"]) == ("owner/bert", ["owner/data"])
    for name in (
        "/data/bert",
        "./bert",
        "../x",
        "a/b/c",
        "reviews.csv",
        "data/reviews.csv.gz",
        "demo",
        "~/bert",
        "a b",
        "C:\\x",
    ):
        assert hub_id(name) is None


def test_local_folder_that_looks_like_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_id("models/bert") == "models/bert"
    (tmp_path / "models" / "bert").mkdir(parents=True)
    assert hub_id("models/bert") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"license": "apache"}, "did you mean apache-2.0?"),
        ({"license": "my own"}, "--license other --license_name NAME"),
        ({"license": "other"}, "--license_name NAME"),
        ({"license": "mit", "license_name": "x"}, "--license other"),
        ({"languages": ["English"]}, "ISO 639"),
        ({"base_model": "./bert"}, None),
        ({"dataset": "a/b/c"}, "OWNER/NAME"),
    ],
)
def test_what_the_hub_would_refuse(options: dict[str, Any], message: str | None) -> None:
    with pytest.raises(accel_clf.ConfigError) as refusal:
        check_options(CardOptions(**options))
    assert (message or "--base_model ./bert") in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["reviews", "a/b/c", "me/-x", "me/x..y", "me/x--y", "me/x.git", "me/", "/x", "me/ü", "me/x y"]
)
def test_names_that_no_repository_has(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), name, "--license", "mit"]) == USAGE
    assert "expected: OWNER/NAME" in capsys.readouterr().err


def test_no_license(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run), "me/model"]) == USAGE
    assert "only you know: apache-2.0, mit" in capsys.readouterr().err


def test_runs_that_cannot_be_pushed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "metrics.json").unlink()
    flags = ("me/model", *FLAGS, "--dry_run", str(tmp_path / "dry"))
    for folder, more, message in (
        (copy, (), "an unfinished run"),
        (tmp_path / "none", (), "no such folder"),
        (run, ("--adapter",), "--adapter, and"),
        (run, ("--report", str(tmp_path / "none")), "no such file"),
        (run, ("--export", str(tmp_path / "none")), "no such folder"),
    ):
        assert main(["push", str(folder), *flags, *more]) == USAGE
        assert message in capsys.readouterr().err
    assert not (tmp_path / "dry").exists()


def test_adapter(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """As peft loads it, beside the merged model; the folder of its base is this machine's."""
    settings = {
        "model": {"name": str(tiny_bert), "lora": {"rank": 2}},
        "data": {"train": str(reviews), "max_length": 32, "limit": 60},
        "output": str(tmp_path / "run"),
    }
    run = accel_clf.train(settings).path
    dry = tmp_path / "dry"
    assert main(["push", str(run), "me/model", *FLAGS, "--adapter", "--dry_run", str(dry)]) == DONE
    config = json.loads((dry / "adapter" / "adapter_config.json").read_text())
    assert config.pop("base_model_name_or_path") == tiny_bert.name
    original = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert config == {name: value for name, value in original.items() if name != "base_model_name_or_path"}
    assert accel_clf.load(dry).predict([TEXT]) == accel_clf.load(run).predict([TEXT])
    assert "| LoRA | rank 2, alpha 16 |" in (dry / "README.md").read_text()


def test_extras(run: Path, tmp_path: Path) -> None:
    """Answers without texts; the report; an export, without the paths in it."""
    report, export = tmp_path / "page.html", tmp_path / "onnx"
    report.write_text("<p>report")
    (export / "model").mkdir(parents=True)
    shutil.copy(run / "config.yaml", export)
    (export / "model" / "config.json").write_text(json.dumps({"_name_or_path": str(tmp_path / "bert"), "a": 1}))
    flags = ("--report", str(report), "--predictions", "--export", str(export), "--dry_run", str(tmp_path / "dry"))
    assert main(["push", str(run), "me/model", *FLAGS, *flags]) == DONE
    dry = tmp_path / "dry"
    assert (dry / "report.html").read_text() == "<p>report"
    assert (dry / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert json.loads((dry / "exports/onnx/model/config.json").read_text()) == {"_name_or_path": "bert", "a": 1}
    assert str(tmp_path).encode() not in (dry / "exports/onnx/config.yaml").read_bytes()
    manifest = json.loads((dry / "accel_clf.json").read_text())["files"]
    assert {path.relative_to(dry).as_posix() for path in dry.rglob("*") if path.is_file()} == {
        *manifest,
        "accel_clf.json",
    }
