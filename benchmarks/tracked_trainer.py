"""The HF Trainer, reporting to the trackers of `tracked_kills`, killed as often as our run is there.

python -m benchmarks.tracked_trainer FOLDER trains one, and resumes from its last checkpoint where there is one.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import tracked_kills
from benchmarks.tracked_kills import LOG_EVERY, SAVE_EVERY, Points

ROWS, EPOCHS, BATCH, LENGTH = 1440, 16, 32, 64  # as the run that is killed beside it
LOSS = {"tensorboard": "train/loss", "mlflow": "loss", "trackio": "train/loss"}  # by its callbacks


def killed_trainer(store: Path, kills: int, seed: int) -> list[list[str]]:
    """Kill and restart the Trainer until it is done; return the lines of its table, of its losses."""
    folder = store / "trainer"
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.tracked_trainer", str(folder)]
    begun, done = folder / "begun", folder / "done"
    count = tracked_kills.kill_and_restart(command, store, begun, partial(_saved_step, folder), done, kills, seed)
    print(f"HF Trainer: killed {count} times, {_saved_step(folder)} steps", flush=True)
    history = json.loads(done.read_text())
    found = {
        "tensorboard": [tracked_kills.tensorboard_points(folder)],
        "mlflow": tracked_kills.mlflow_runs(store),
        "trackio": tracked_kills.trackio_runs(store, "train/global_step"),
    }
    table: list[list[str]] = []
    for tracker, runs in found.items():
        name = LOSS[tracker]
        losses: list[Points] = [[point for point in points if point[0] == name] for points in runs]
        expected = [(name, entry["step"], entry["loss"]) for entry in history if "loss" in entry]
        table += tracked_kills.rows("HF Trainer (loss)", {tracker: losses}, expected)
    return table


def _saved_step(folder: Path) -> int:
    states = folder.glob("checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.split("-")[1]) for path in states), default=0)


def train(folder: Path) -> None:
    """Train the demo's encoder by the Trainer, from its last checkpoint on."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from accel_clf.config.schema import DataConfig, ModelConfig
    from accel_clf.data.sources import read_dataset
    from accel_clf.models.loading import load_model, load_tokenizer

    os.environ |= {"TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard")}
    rows = read_dataset("demo", DataConfig(limit=ROWS), split="train")
    tokenizer = load_tokenizer(ModelConfig(name="demo"), rows, LENGTH)
    model = load_model(ModelConfig(name="demo"), rows.target, tokenizer, LENGTH, 0)
    encoded = tokenizer([str(text) for text in rows.texts()][:ROWS], truncation=True, max_length=LENGTH)
    examples: list[dict[str, Any]] = [
        {"input_ids": ids, "labels": int(label)} for ids, label in zip(encoded["input_ids"], rows.labels, strict=False)
    ]

    class Begin(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **options: Any) -> None:
            (folder / "begun").touch()

    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        learning_rate=2e-3,
        logging_steps=LOG_EVERY,
        save_steps=SAVE_EVERY,
        save_total_limit=2,
        report_to=list(tracked_kills.TRACKERS),
        run_name="trainer",
        project="trainer",
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=examples, processing_class=tokenizer, callbacks=[Begin()])
    # Killed while it saves, it leaves a checkpoint that it cannot resume from.
    step = _saved_step(folder)
    trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}") if step else None)
    (folder / "done").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
