"""One class for each tracker."""

from accel_clf.tracking.backend import Backend
from accel_clf.tracking.hosted import Aim, ClearML, Comet, DVCLive, SwanLab, WandB
from accel_clf.tracking.local import MLflow, TensorBoard, Trackio

BACKENDS: dict[str, type[Backend]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "trackio": Trackio,
    "wandb": WandB,
    "comet_ml": Comet,
    "aim": Aim,
    "clearml": ClearML,
    "dvclive": DVCLive,
    "swanlab": SwanLab,
}
