"""What a data set is like, before anything is trained on it."""

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config, merge
from accel_clf.core.chunks import chunks
from accel_clf.core.errors import ConfigError, DataError
from accel_clf.data import near_duplicates, splits
from accel_clf.data.dataset import Dataset
from accel_clf.data.facts import count_labels, count_twins, quantiles
from accel_clf.data.sources import column_names, is_file, read_dataset
from accel_clf.data.splits import Splits
from accel_clf.data.texts import sides
from accel_clf.data.tokenization import CHUNK_SIZE, tokenize_texts
from accel_clf.reports.languages import languages
from accel_clf.targets import registry
from accel_clf.targets.base import Target
from accel_clf.targets.few_rows import few_rows_hint

KINDS = {
    ".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON Lines", ".json": "JSON", ".parquet": "Parquet", ".xlsx": "Excel",
    ".txt": "text", ".gz": "gzip", ".zip": "zip",
}  # fmt: skip
NO_CUT = 2**31 - 1


def examine(config: Config, with_languages: bool = False) -> dict[str, Any]:
    """Examine the rows of a configuration, and whether they could be trained on.

    Args:
        config: the settings.
        with_languages: whether to tell which languages the texts are in.

    Returns:
        A report; `problems` says what keeps the rows from being trained on, each with what was got, expected and to do.

    Raises:
        DataError: the rows cannot be read at all.
        ConfigError: settings do not fit what is predicted.
    """
    problems: list[DataError] = []
    skipping = config.data.model_copy(update={"incomplete": "skip"})
    loaded, data = None, config.data
    for settings in (config.data, skipping):
        try:
            loaded, data = splits.load(settings, config.training.seed, config.target), settings
            break
        except DataError as error:
            if str(error) not in map(str, problems):
                problems.append(error)
    if not loaded:  # all rows may be readable nevertheless, such as those of a single label
        data = skipping
    rows = read_dataset(config.data.train, data, config.target, split=config.data.split)
    target = rows.target
    resolved = registry.with_defaults(config, type(target))
    target.check_settings(config.target, config.evaluation.named_metrics)
    return {
        "source": _source(config.data.train),
        "columns": list(column_names(config.data.train, config.data, config.data.split)),
        "rows": _counts(rows),
        "target": {
            "type": target.kind,
            "description": target.describe(),
            "reason": registry.reason(config.data, config.target, target),
        },
        "labels": count_labels(rows),
        "splits": {name: len(part) for name, part in loaded._asdict().items() if part is not None} if loaded else {},
        "lengths": _lengths(rows, config),
        "languages": languages(rows, config.training.seed) if with_languages else None,
        "twins": count_twins(rows),
        "near_duplicates": _near_duplicates(rows) if config.data.near_duplicates else None,
        "warnings": _warnings(config, target, loaded, resolved),
        "problems": [{"got": of.got, "expected": of.expected, "to do": of.fix} for of in problems],
        "settings": _settings(resolved),
    }


def _source(source: str) -> dict[str, Any]:
    path = Path(source)
    if source == "demo" or not is_file(source):
        return {"name": source, "kind": "the built-in demo" if source == "demo" else "a Hub data set"}
    if path.is_dir():
        return {"name": source, "kind": "a folder of text files for each label"}
    kinds = [KINDS.get(suffix.lower(), "") for suffix in path.suffixes[-2:]]
    return {"name": source, "kind": ", ".join(filter(None, kinds)), "bytes": path.stat().st_size}


def _counts(rows: Dataset) -> dict[str, Any]:
    incomplete = rows.incomplete
    assert incomplete is not None, "they were just read"
    return {"read": incomplete.rows, "usable": len(rows), **incomplete.counts}


def _lengths(rows: Dataset, config: Config) -> dict[str, Any]:
    """Measure texts in characters and in tokens; in words where the model's tokenizer is not on this machine."""
    from accel_clf.models.loading import load_tokenizer

    max_length = config.data.max_length
    try:
        tokenizer = load_tokenizer(config.model, rows, max_length, only_local=True)
    except ConfigError:
        tokenizer = None
    characters, units = array("q"), array("q")
    for texts in chunks(rows.texts(), CHUNK_SIZE):
        characters.extend(sum(map(len, sides(text))) for text in texts)
        if tokenizer is None:
            units.extend(sum(len(side.split()) for side in sides(text)) for text in texts)
        else:
            units.extend(tokenize_texts(texts, tokenizer, NO_CUT).lengths.tolist())
    lengths = np.array(units)
    return {
        "characters": quantiles(np.array(characters)),
        "words" if tokenizer is None else "tokens": quantiles(lengths),
        "max_length": max_length,
        "share_cut": float((lengths > max_length).mean()),
        "tokenizer": config.model.name if tokenizer is not None else None,
    }


def _near_duplicates(rows: Dataset) -> dict[str, Any] | None:
    if len(rows) > near_duplicates.MAX_INDEXED:
        return None
    matches = near_duplicates.find(rows, rows)
    report: dict[str, Any] = {"rows": len(matches.others), "all_compared": matches.is_complete, "example": []}
    if matches.others:
        index, twin = next(iter(matches.others.items()))
        pair = np.array(sorted({index, int(np.searchsorted(rows.ids, twin))}))
        report["example"] = list(rows.take(pair).texts())
    return report


def _warnings(config: Config, target: Target, loaded: Splits | None, resolved: Config) -> list[str]:
    question = registry.question(target) if config.target.type == "auto" else None
    warnings = [question] if question else []
    if loaded:
        few = few_rows_hint(target, loaded.train.labels, resolved.training)
        warnings += [few] if few else []
        counted = loaded.train.incomplete.note if loaded.train.incomplete else ""  # which stands beside the rows
        warnings += [message for message in splits.warnings(loaded, config.data) if message != counted]
        warnings += target.warnings(loaded.train.labels, config.target.loss, resolved.evaluation.metric)
    return warnings


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings that a run would have, but for those that are the defaults of all runs."""
    named = {"model": {"name": True}, "data": {"train": True, "text": True, "label": True}}
    return merge(config.model_dump(mode="json", include=named), config.model_dump(mode="json", exclude_defaults=True))
