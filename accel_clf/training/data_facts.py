"""What a run's rows are like, for whoever reads its report: rows.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.core.files import write_json
from accel_clf.data.dataset import Dataset, shared_texts
from accel_clf.data.facts import count_labels, count_twins, quantiles
from accel_clf.data.windows import describe_cut, is_cut, window_count
from accel_clf.run_folder.layout import DATA_FACTS, SPLIT_NAMES
from accel_clf.training.prepare import PreparedRun

BINS = 20  # of the histogram of lengths


def write_data_facts(folder: Path, prepared: PreparedRun, warnings: Sequence[str] = ()) -> None:
    """Write what the rows are like: their numbers, labels, lengths, twins and leaks, and what was warned of.

    Args:
        folder: of the run or the cross-validation.
        prepared: the run; of a cross-validation that of all rows.
        warnings: more than the run's.
    """
    train = prepared.splits.train
    incomplete = train.incomplete
    content = {
        "left_out": {name: count for name, count in incomplete.counts.items() if count} if incomplete else {},
        "twins": count_twins(train),
        "splits": {
            name: _facts(name, rows, prepared) for name, rows in prepared.splits._asdict().items() if rows is not None
        },
        "warnings": [*prepared.warnings, *warnings],
    }
    write_json(folder / DATA_FACTS, content)


def _facts(name: str, rows: Dataset, prepared: PreparedRun) -> dict[str, Any]:
    tokens, data = prepared.tokens[name].lengths, prepared.config.data
    counts, edges = np.histogram(tokens, min(BINS, int(tokens.max() - tokens.min()) + 1))
    is_train = rows is prepared.splits.train
    return {
        "rows": len(rows),
        "digest": rows.digest(),
        "labels": count_labels(rows),
        "tokens": quantiles(tokens),
        "lengths": {"edges": edges.tolist(), "rows": counts.tolist()},
        "cut": int(is_cut(tokens, data).sum()),
        "cut_means": describe_cut(tokens, data, f"{SPLIT_NAMES[name]} rows"),
        "windows": int(window_count(tokens, data.max_length).max()) if data.windows.stride is not None else 1,
        "texts_of_training_rows": None if is_train else int(shared_texts(prepared.splits.train, rows).sum()),
    }
