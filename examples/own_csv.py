"""Train on your own CSV, with a share of its rows for validation, and evaluate on another file.

python examples/own_csv.py [OUTPUT_FOLDER] [--train FILE --test FILE]

They need columns `body` (the text) and `stars` (the label). By default two small ones are written beside the output.
"""

import argparse
import csv
from itertools import product
from pathlib import Path

import accel_clf

OPINIONS = {"5": ("lovely", "superb", "charming", "witty"), "1": ("awful", "tedious", "dull", "stale")}
THINGS = ("film", "soup", "room", "book", "garden", "song", "play", "tour")
PHRASES = ("the {} was {}", "my aunt found the {} {}", "a {} so {} that we talked about it", "that {} seemed {} to us")


def write_reviews(path: Path, things: tuple[str, ...]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["body", "stars"])
        for thing, phrase, (stars, words) in product(things, PHRASES, OPINIONS.items()):
            writer.writerows([phrase.format(thing, word), stars] for word in words)
    return str(path)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("output", nargs="?", type=Path, default=Path("runs/own-csv"))
parser.add_argument("--train")
parser.add_argument("--test")
args = parser.parse_args()
args.output.parent.mkdir(parents=True, exist_ok=True)
train = args.train or write_reviews(args.output.with_name("reviews.csv"), THINGS[:6])
test = args.test or write_reviews(args.output.with_name("new_reviews.csv"), THINGS[6:])
data = {"train": train, "text": "body", "label": "stars", "validation": 0.2}
run = accel_clf.train({"model": {"name": "demo"}, "data": data, "output": str(args.output)})
print(f"validation: accuracy {run.metrics['validation']['accuracy']:.4f}")
print(f"{test}: accuracy {run.evaluate(test)['accuracy']:.4f}")
