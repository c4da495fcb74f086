"""`accel-clf predict` beside the Hub's pipeline with batches of 32: the same trained folder, the same texts.

python -m benchmarks.prediction RUN --data FILE [--text text] [--rows 500] [--repeats 3] [--precision fp32]

Both take turns in one process, from texts to labels, on all of the machine's threads. In fp32, which the
pipeline computes in, they must agree on every label.
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from accel_clf.config.schema import DataConfig
from accel_clf.core.console import format_table
from accel_clf.data.sources import read_dataset
from accel_clf.inference.predictor import Predictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text", help="the column")
    parser.add_argument("--rows", type=int, default=500, help="the first so many, in steps of the file's length")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="fp32", choices=("auto", "fp32", "bf16"), help="of ours")
    given = parser.parse_args()
    from transformers import pipeline

    source = read_dataset(given.data, DataConfig(text=given.text), split="train")
    step = max(1, len(source) // given.rows)
    texts = list(islice(source.texts(), 0, step * given.rows, step))
    predictor = Predictor(given.run, given.precision)
    hub: Any = pipeline("text-classification", str(given.run / "model"), device=predictor.strategy.device)
    length = predictor.config.data.max_length

    def ours() -> list[str]:
        return [predictor.labels[int(sure.argmax())] for _, sure in predictor.predict(texts)]

    def pipelines() -> list[str]:
        return [found["label"] for found in hub(texts, batch_size=32, truncation=True, max_length=length)]

    turns = [(f"accel_clf, {predictor.precision}", ours), ("pipeline", pipelines)]
    seconds: dict[str, list[float]] = {name: [] for name, _ in turns}
    answers: dict[str, list[str]] = {}
    for repeat in range(given.repeats):
        for name, run in turns if repeat % 2 == 0 else turns[::-1]:
            began = time.perf_counter()
            answers[name] = run()
            seconds[name].append(time.perf_counter() - began)
    different = sum(one != other for one, other in zip(*answers.values(), strict=True))
    ratio = statistics.median(hubs / own for own, hubs in zip(*seconds.values(), strict=True))
    print(f"{len(texts)} texts of {given.data}, {torch.get_num_threads()} threads; {different} labels differ")
    lines = [[name, f"{len(texts) / statistics.median(took):.1f}"] for name, took in seconds.items()]
    print(format_table(["", "texts/s"], lines))
    print(f"median ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
