"""The files of a repository on the Hub that holds a run: what is pushed, and nothing else.

A run's model lies at the top, where transformers looks for it; the models of a cross-validation in `fold-0` and on. The
settings and results beside it make the folder one that accel_clf loads, evaluates and serves. Neither texts nor the
folders of this machine are among them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accel_clf import __version__
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import read_json
from accel_clf.reports.hub.card_facts import Facts
from accel_clf.reports.hub.card_metadata import CardOptions
from accel_clf.reports.hub.card_sources import hub_id, shared_name
from accel_clf.reports.hub.model_card import model_card
from accel_clf.run_folder.layout import ADAPTER, FOLDS, config_text, fold_name, model_folder
from accel_clf.run_folder.predictions import PREDICTION_FILES

CARD, MANIFEST, REPORT, EXPORTS = "README.md", "accel_clf.json", "report.html", "exports"
# Where libraries write the name that a model was loaded by, which may be a folder of this machine.
_NAMES = ("_name_or_path", "name_or_path", "base_model_name_or_path")
_BESIDE_MODELS = (CARD, MANIFEST, REPORT, "config.yaml", "metrics.json")
_CHUNK = 1 << 20

Content = Path | bytes
Files = dict[str, Content]


@dataclass(frozen=True)
class Extras:
    """What is pushed on request only.

    Attributes:
        adapter: whether adapters are, of runs with LoRA, whose merged models are in any case.
        report: a report that `accel-clf report` has written, with or without texts.
        predictions: whether the tables of answers for labelled rows are, which have no texts.
        exports: folders that `accel-clf export` has written.
    """

    adapter: bool = False
    report: Path | None = None
    predictions: bool = False
    exports: Sequence[Path] = ()


def package(facts: Facts, options: CardOptions, extras: Extras) -> Files:
    """Collect the files of a repository: path there -> a file here, or bytes; README.md first, the manifest last.

    Raises:
        ConfigError: something that was asked for is not there.
    """
    files: Files = {CARD: str(model_card(facts, options)).encode()}
    files["config.yaml"] = config_text(_shared_config(facts.config, facts.name)).encode()
    files["metrics.json"] = facts.run / "metrics.json"
    runs = {f"{fold_name(fold)}/": facts.run / fold_name(fold) for fold in range(facts.folds)} or {"": facts.run}
    if facts.folds:
        folds = read_json(facts.run / FOLDS)  # which rows are in which, and whose, is not for everybody
        files[FOLDS] = _json({key: folds[key] for key in ("folds", "seed", "rows")})
    for prefix, run in runs.items():
        files |= _model(run, prefix, options)
        if extras.adapter:
            if not (run / ADAPTER).is_dir():
                raise ConfigError(f"--adapter, and {run} has none", "a run with model.lora.rank", "leave --adapter out")
            files |= _folder(run / ADAPTER, f"{prefix}{ADAPTER}/", options)
    if extras.report:
        if not extras.report.is_file():
            raise ConfigError(f"--report {extras.report}: no such file", "a report in HTML, of this run")
        files[REPORT] = extras.report
    if extras.predictions:
        names = ["out_of_fold.csv", *(PREDICTION_FILES[split] for split in ("test", "calibration"))]
        files |= {name: facts.run / name for name in names if (facts.run / name).is_file()}
    for export in extras.exports:
        if not export.is_dir():
            raise ConfigError(f"--export {export}: no such folder", "one that `accel-clf export` has written")
        prefix = f"{EXPORTS}/{export.resolve().name}/"
        if any(path.startswith(prefix) for path in files):
            raise ConfigError(f"--export {export}: another export has that name, too", "folders of different names")
        files |= _folder(export, prefix, options)
    digests = {path: vars(Digests.of(content)) for path, content in files.items()}
    manifest = {"format": 1, "accel_clf": __version__, "files": digests}
    return files | {MANIFEST: _json(manifest)}


def _json(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()


def _model(run: Path, prefix: str, options: CardOptions) -> Files:
    """Collect the files of a run's model."""
    folder = model_folder(run)
    files = _folder(folder, prefix, options)
    if folder != run:
        return files
    beside = {f"{prefix}{name}" for name in _BESIDE_MODELS}  # of a run that was pushed, and downloaded
    return {
        path: content
        for path, content in files.items()
        if "/" not in path.removeprefix(prefix) and path not in beside and not path.endswith(".csv")
    }


def _folder(folder: Path, prefix: str, options: CardOptions) -> Files:
    """Collect what a folder holds, hidden files excepted."""
    paths = {path.relative_to(folder).parts: path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        prefix + "/".join(parts): _without_paths(path, options)
        for parts, path in paths.items()
        if not any(part.startswith(".") for part in parts)
    }


def _without_paths(path: Path, options: CardOptions) -> Content:
    """Return a file, without the name of a folder of this machine where it is a configuration that has one."""
    if path.name == "config.yaml":
        return _yaml_without_paths(path)
    if not path.name.endswith("config.json"):
        return path
    content: dict[str, Any] = read_json(path)
    changes = {
        key: options.base_model or shared_name(content[key])
        for key in _NAMES
        if isinstance(content.get(key), str) and content[key] and not hub_id(content[key])
    }
    return _json(content | changes) if changes else path


def _yaml_without_paths(path: Path) -> bytes:
    from accel_clf.config.load import load

    return config_text(_shared_config(load(path, {}), path.parent.name)).encode()


def _shared_config(config: Config, name: str) -> Config:
    """Return settings without folders of this machine: of a path its last part is left."""
    data, model = config.data, config.model

    def shared(value: Any) -> Any:
        return shared_name(value) if isinstance(value, str) else value

    sources = ("train", "validation", "test", "calibration")
    metrics = tuple(shared_name(metric) if Path(metric).exists() else metric for metric in config.evaluation.metrics)
    return config.model_copy(
        update={
            "data": data.model_copy(update={source: shared(getattr(data, source)) for source in sources}),
            "model": model.model_copy(update={part: shared(getattr(model, part)) for part in ("name", "tokenizer")}),
            "evaluation": config.evaluation.model_copy(update={"metrics": metrics}),
            "output": f"runs/{name}",
            "resume": "auto",
        }
    )


@dataclass(frozen=True)
class Digests:
    """The digests by which the Hub knows a file.

    Attributes:
        git: of a file in git: SHA-1, as git computes it.
        sha256: of a large file, which is kept outside of git.
    """

    git: str
    sha256: str

    @classmethod
    def of(cls, content: Content) -> "Digests":
        """Read a file once, and digest it."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        git, sha256 = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False), hashlib.sha256()
        for digest in (git, sha256):
            if isinstance(content, bytes):
                digest.update(content)
        if isinstance(content, Path):
            with content.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    git.update(chunk)
                    sha256.update(chunk)
        return cls(git.hexdigest(), sha256.hexdigest())


def read_manifest(text: str) -> dict[str, Digests]:
    """Read the files that a former push has written, with their digests; none where the manifest is not one of ours."""
    try:
        return {str(path): Digests(of["git"], of["sha256"]) for path, of in json.loads(text)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def size_of(files: Mapping[str, Content]) -> int:
    """Count the bytes of all files."""
    return sum(len(content) if isinstance(content, bytes) else content.stat().st_size for content in files.values())


def write_package(files: Mapping[str, Content], folder: Path) -> None:
    """Write the files into a new folder, which appears once it is complete.

    Raises:
        ConfigError: the folder holds something, or cannot be there.
        OSError: the disk is full, say; nothing is left behind.
    """
    folder = folder.resolve()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        problem = "a file" if folder.is_file() else "not empty"
        raise ConfigError(f"--dry_run {folder}: {problem}", "a new or empty folder", "choose another, or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(
            f"--dry_run {folder}: a folder above it is a file", "a new or empty folder", "choose another"
        ) from None
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        for path, content in files.items():
            target = unfinished / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content, target)
        if folder.is_dir():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
