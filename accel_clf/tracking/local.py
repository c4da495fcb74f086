"""Trackers that are asked what they have of a run: TensorBoard, MLflow, and trackio on this machine."""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accel_clf.tracking.backend import Backend, Logged
from accel_clf.tracking.content import Table
from accel_clf.tracking.note import Note

ID_TAG = "accel_clf.id"
MLFLOW_ADDRESS = os.environ.get("MLFLOW_TRACKING_URI")  # of whoever started this: MLflow sets it to what it is told


class TensorBoard(Backend):
    """Event files in the run's folder."""

    def start(self, settings: Mapping[str, Any]) -> None:
        project, self.project = self.project, "tensorboard"  # by Accelerate's class, the name of the files' folder
        super().start(settings)
        self.project = project

    def location(self) -> str:
        return str(self._folder)

    @property
    def _folder(self) -> Path:
        return self.note.folder / "tensorboard"

    def logged(self) -> Logged:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self._folder), size_guidance={"scalars": 0, "tensors": 1})
        events.purge_orphaned_data = False
        events.Reload()
        tags = events.Tags()
        texts: list[str] = [tag.removesuffix("/text_summary") for tag in tags["tensors"]]
        steps = {tag: {event.step for event in events.Scalars(tag)} for tag in tags["scalars"]}
        return steps | {tag: {0} for tag in texts}

    def send_settings(self, settings: Mapping[str, Any]) -> None:
        """Send them as a text; Accelerate's class would make a second run of them."""
        self._send_text("settings", "\n".join(f"    {name}: {value}" for name, value in settings.items()))

    def send_table(self, table: Table, step: int) -> None:
        lines: list[list[str | int]] = [[*table.columns], ["---"] * len(table.columns), *table.rows]
        self._send_text(table.name, "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines))

    def _send_text(self, name: str, text: str) -> None:
        if name not in (self._logged or {}):
            self.tracker.log({name: text}, step=0)


class MLflow(Backend):
    """A run of an MLflow server or store: MLFLOW_TRACKING_URI, or what MLflow takes in the working folder."""

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        import mlflow

        if self.note.store:
            mlflow.set_tracking_uri(self.note.store)
        elif not MLFLOW_ADDRESS:  # where an earlier fold of this process is, if there is one
            if not mlflow.is_tracking_uri_set() and importlib.util.find_spec("sqlalchemy") is None:
                mlflow.set_tracking_uri(Path("mlruns").absolute().as_uri())  # mlflow-skinny has no database
            self.note.store = mlflow.get_tracking_uri()
        tags = {ID_TAG: self.note.id} | ({"group": self.group} if self.group else {})
        return {"run_id": self.note.tracker_id or self._find(), "run_name": self.name, "tags": tags}

    def _find(self) -> str | None:
        """Find a run that was created when a process was killed before it could note the run's id."""
        from mlflow import MlflowClient

        client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", self.project)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            client.create_experiment(name)  # Accelerate would give it the run's tags
            return None
        runs = client.search_runs([experiment.experiment_id], f"tags.`{ID_TAG}` = '{self.note.id}'")
        return str(runs[0].info.run_id) if runs else None

    def location(self) -> str:
        import mlflow

        return f"{mlflow.get_tracking_uri()}, experiment {self.project}, run {self.name}"

    def tracker_id(self) -> str:
        return str(self.tracker.active_run.info.run_id)

    def logged(self) -> Logged:
        from mlflow import MlflowClient

        client, run_id = MlflowClient(), self.note.tracker_id
        names = client.get_run(run_id).data.metrics
        return {name: {metric.step for metric in client.get_metric_history(run_id, name)} for name in names}

    def send_table(self, table: Table, step: int) -> None:
        import mlflow

        lines: list[list[str | int]] = [[*table.columns], *table.rows]
        mlflow.log_text("\n".join("\t".join(map(str, line)) for line in lines) + "\n", f"{table.name}.tsv")

    def send_files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.tracker.log_artifact(str(path))

    def finish(self, is_complete: bool) -> None:
        import mlflow

        mlflow.end_run("FINISHED" if is_complete else "KILLED")


class Trackio(Backend):
    """A run of trackio, in TRACKIO_DIR on this machine, unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL name another."""

    def __init__(self, note: Note, project: str, name: str, group: str | None) -> None:
        # By its name trackio finds a run, and two folders may have the same.
        super().__init__(note, project, f"{name}-{note.id[:8]}", group)

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        recorders = {"auto_log_cpu": False, "auto_log_gpu": False, "embed": False}
        return {"name": self.name, "group": self.group, "resume": "allow", "config": dict(settings), **recorders}

    def send_settings(self, settings: Mapping[str, Any]) -> None:
        """Do nothing: `options` has them."""

    def tracker_id(self) -> str:
        return str(self.tracker.tracker.id)

    @property
    def _is_local(self) -> bool:
        return not (os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"))

    def logged(self) -> Logged | None:
        if not self._is_local:
            return None
        from trackio.sqlite_storage import SQLiteStorage

        steps: Logged = {}
        for entry in SQLiteStorage.get_logs(self.project, self.name, run_id=self.note.tracker_id):
            for name in entry:
                steps.setdefault(name, set()).add(entry["step"])
        return steps

    def finish(self, is_complete: bool) -> None:
        """Leave the run.

        Raises:
            OSError: trackio, which writes beside this thread and reports no error, has not stored all that it was sent.
        """
        super().finish(is_complete)
        stored = self.logged()
        if self._logged is None or stored is None:
            return
        lost = sum(len(steps - stored.get(name, set())) for name, steps in self._logged.items())
        if lost:
            raise OSError(f"trackio has not stored {lost} of {sum(map(len, self._logged.values()))} values")

    def send_table(self, table: Table, step: int) -> None:
        import trackio

        if table.name not in (self._logged or {}):
            rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            self.tracker.log({table.name: trackio.Table(data=rows)}, step=step)

    def send_files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.tracker.tracker.log_artifact(path, type="results")


def _cell(value: str | int) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
