"""Which languages texts are in, by py3langid."""

from collections import Counter
from importlib.util import find_spec
from typing import Any

import numpy as np

from accel_clf.core.errors import ConfigError
from accel_clf.data.dataset import Dataset
from accel_clf.data.texts import sides

SAMPLE = 2000  # texts
LEAST = 20  # characters that tell a language


def languages(rows: Dataset, seed: int) -> dict[str, Any]:
    """Count the languages of a sample of texts.

    Args:
        rows: the data set.
        seed: draws the sample.

    Returns:
        `texts` in the sample, `too_short` ones among them, and `counts` of the others: ISO 639-1 code -> texts, the
        most frequent first.

    Raises:
        ConfigError: py3langid is not installed.
    """
    if not find_spec("py3langid"):
        raise ConfigError("--languages, and py3langid is not installed", fix="pip install 'accel_clf[languages]'")
    import py3langid

    drawn = np.random.default_rng(seed).choice(len(rows), min(len(rows), SAMPLE), replace=False)
    texts = [" ".join(sides(text)) for text in rows.take(np.sort(drawn)).texts()]
    long_enough = [text for text in texts if len(text) >= LEAST]
    counts = Counter(py3langid.classify(text)[0] for text in long_enough)
    return {"texts": len(texts), "too_short": len(texts) - len(long_enough), "counts": dict(counts.most_common())}
