"""Compare `accel-clf predict` with transformers' pipeline with batches of 32: same trained model, same texts.

python -m benchmarks.prediction RUN --data FILE [--text text] [--rows 500] [--repeats 3] [--precision fp32]

Both take turns in one process, from texts to labels, on all of the machine's threads. In fp32, the pipeline's
precision, they must agree on every label.
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
    parser.add_argument("--text", default="text", help="the column with the texts")
    parser.add_argument("--rows", type=int, default=500, help="maximum number of texts, evenly spaced over the file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="fp32", choices=("auto", "fp32", "bf16"), help="of accel_clf")
    args = parser.parse_args()
    from transformers import pipeline

    source = read_dataset(args.data, DataConfig(text=args.text), split="train")
    step = max(1, len(source) // args.rows)
    texts = list(islice(source.texts(), 0, step * args.rows, step))
    predictor = Predictor(args.run, args.precision)
    classifier: Any = pipeline("text-classification", str(args.run / "model"), device=predictor.strategy.device)
    length = predictor.config.data.max_length

    def ours() -> list[str]:
        return [predictor.target.names[int(scores.argmax())] for _, scores in predictor.predict(texts)]

    def pipelines() -> list[str]:
        return [output["label"] for output in classifier(texts, batch_size=32, truncation=True, max_length=length)]

    contestants = [(f"accel_clf, {predictor.precision}", ours), ("pipeline", pipelines)]
    seconds: dict[str, list[float]] = {name: [] for name, _ in contestants}
    labels: dict[str, list[str]] = {}
    for repeat in range(args.repeats):
        for name, predict in contestants if repeat % 2 == 0 else contestants[::-1]:
            began = time.perf_counter()
            labels[name] = predict()
            seconds[name].append(time.perf_counter() - began)
    different = sum(label != expected for label, expected in zip(*labels.values(), strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in zip(*seconds.values(), strict=True))
    print(f"{len(texts)} texts of {args.data}, {torch.get_num_threads()} threads; {different} labels differ")
    lines = [[name, f"{len(texts) / statistics.median(times):.1f}"] for name, times in seconds.items()]
    print(format_table(["", "texts/s"], lines))
    print(f"median ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
