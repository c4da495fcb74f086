"""Trackers that need an account or a server: what they have the run's note says, and its id takes the run up again.

The options are those that their libraries document; all but Aim's were tried in offline modes, none with a server.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accel_clf.tracking.backend import Backend
from accel_clf.tracking.content import Table
from accel_clf.tracking.note import FOLDER


class WandB(Backend):
    """A run of Weights & Biases, taken up by its id; it refuses steps below the last by itself."""

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        folder = str(self.note.folder / FOLDER)
        return {"id": self.note.id, "resume": "allow", "name": self.name, "group": self.group, "dir": folder}

    def location(self) -> str:
        return str(self.tracker.tracker.url or self.tracker.tracker.dir)

    def send_table(self, table: Table, step: int) -> None:
        rows = [list(map(str, row)) for row in table.rows]
        self.tracker.log_table(table.name, columns=table.columns, data=rows, step=step)

    def send_files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.tracker.tracker.save(str(path), base_path=str(path.parent), policy="now")


class Comet(Backend):
    """An experiment of Comet, taken up by its key."""

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        from comet_ml import ExperimentConfig

        config = ExperimentConfig(log_code=False, log_git_patch=False)  # changed files may have texts
        return {"experiment_key": self.note.id, "mode": "get_or_create", "experiment_config": config}

    def start(self, settings: Mapping[str, Any]) -> None:
        super().start(settings)
        self.tracker.tracker.set_name(self.name)
        if self.group:
            self.tracker.tracker.add_tag(self.group)

    def location(self) -> str:
        return str(self.tracker.tracker.url)

    def send_files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.tracker.tracker.log_asset(str(path))


class Aim(Backend):
    """A run in an Aim repository, in the run's folder."""

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        options = {"experiment": self.group or self.project}
        return options | ({"run_hash": self.note.tracker_id} if self.note.tracker_id else {})

    def tracker_id(self) -> str:
        return str(self.tracker.tracker.hash)


class ClearML(Backend):
    """A task of ClearML, taken up by its id."""

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        task = self.note.tracker_id
        taken_up = {"continue_last_task": task} if task else {"reuse_last_task_id": False}
        recorders = {f"auto_connect_{name}": False for name in ("frameworks", "arg_parser", "streams")}
        return {"task_name": self.name, "tags": [self.group] if self.group else [], **taken_up, **recorders}

    def tracker_id(self) -> str:
        return str(self.tracker.task.id)

    def send_table(self, table: Table, step: int) -> None:
        self.tracker.log_table(table.name, columns=table.columns, data=table.rows, step=step)

    def send_files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.tracker.task.upload_artifact(path.stem, artifact_object=str(path))


class DVCLive(Backend):
    """Files of DVCLive, in the run's folder."""

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {"dir": str(self.note.folder / "dvclive"), "resume": bool(self.note.tracker_id), "save_dvc_exp": False}

    def tracker_id(self) -> str:
        return self.note.id


class SwanLab(Backend):
    """A run of SwanLab, taken up by its id; it ignores steps that it has."""

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        tags = {"tags": [self.group]} if self.group else {}
        return {"id": self.note.id[:21], "resume": "allow", "experiment_name": self.name, **tags}
