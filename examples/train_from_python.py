"""Train the built-in demo from Python, label texts and evaluate: no download, seconds on a CPU.

python examples/train_from_python.py [OUTPUT_FOLDER]
"""

import sys

import accel_clf

run = accel_clf.train(
    {
        "data": {"limit": 4000},  # without this line and the next one, it is the whole demo: about a minute
        "training": {"epochs": 3},
        "output": sys.argv[1] if len(sys.argv) > 1 else "runs/train-from-python",
    }
)
texts = ["i never thought the soup was dull.", "the room looked awful but was charming."]
for text, prediction in zip(texts, run.predict(texts), strict=True):
    print(f"{prediction['label']}  {prediction['score']:.4f}  {text}")

metrics = run.evaluate("demo")  # other rows than it was trained on
print(f"accuracy {metrics['accuracy']:.4f}, macro F1 {metrics['macro_f1']:.4f} on {metrics.rows} rows")
print(f"run folder: {run.path}")
