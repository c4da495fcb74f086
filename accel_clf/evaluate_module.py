"""The built-in metrics as a module of the `evaluate` library, loaded from its path, with no network.

evaluate.load(accel_clf.evaluate_module.__file__).compute(predictions=probabilities, references=labels)
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from accel_clf.targets.classification import average_metrics

_DESCRIPTION = (
    "Accuracy, macro and weighted F1, log loss and expected calibration error of a classifier's probabilities."
)
_INPUTS = "predictions: probabilities [rows, classes]. references: the right classes, int [rows]."


class Classification(evaluate.Metric):  # type: ignore[misc]
    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.List(datasets.Value("float32")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        # scikit-learn expects sums closer to one than float32 has.
        probabilities = np.asarray(predictions, np.float64)
        normalized = probabilities / probabilities.sum(axis=1, keepdims=True)
        return average_metrics(np.asarray(references), normalized).to_json()
