"""Cross-validate on the built-in demo: out-of-fold metrics, suspect labels, and the folds' models as one classifier.

python examples/cross_validation.py [OUTPUT_FOLDER]
"""

import csv
import sys

import accel_clf

cv = accel_clf.cross_validate(
    {
        "data": {"limit": 6000},
        "training": {"epochs": 3},
        "evaluation": {"baseline": False},
        "folds": 3,
        "output": sys.argv[1] if len(sys.argv) > 1 else "runs/cross-validation",
    }
)
mean, spread = cv.metrics["mean"], cv.metrics["spread"]
print(f"accuracy {mean['accuracy']:.4f}, with a standard deviation of {spread['accuracy']:.4f} over the folds")
print(f"every row once, out of fold: accuracy {cv.metrics['out_of_fold']['accuracy']:.4f}")

with (cv.path / "suspect_labels.csv").open(encoding="utf-8", newline="") as file:
    suspects = list(csv.DictReader(file))
print(f"{len(suspects)} rows whose label is doubted by a model that has not seen them; first:")
for row in suspects[:3]:
    print(f"  labelled {row['label']}, predicted {row['predicted']}: {row['text']}")

[prediction] = cv.predict("i never thought the soup was dull.")
print(f"the three models together: {prediction['label']} {prediction['score']:.4f}")
