"""Compare LoRA with full tuning: accuracy, size, speed and memory; and five folds served as adapters of one model.

python -m benchmarks.lora --model FOLDER_OR_ID --train FILE --test FILE [--rows 4000] [--epochs 3] [--seeds 3]
    [--rank 8] [--rates FULL LORA] [--modules NAME ...] [--precision fp32] [--folds_rows 400]

Each run is a separate process, on the same rows, for the same epochs; full tuning and LoRA take turns. CPU seconds are
those of the steps, of all threads: on a machine that is busy with other things they say more than seconds. A peak is
the operating system's (resident set). In bf16 on a CPU most of it is the kernels that oneDNN keeps for each number of
tokens, whatever is trained.

Then the adapter is read back by peft alone, a hundred times beside a base whose head is made anew, and its logits are
compared bit for bit with those of a model with the same adapters in training; and a cross-validation of five folds is
loaded as the server loads it, beside one fold alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accel_clf.core.console import format_table

TRAIN = """
import json, resource, sys, time
import accel_clf.training.loop as loop
from accel_clf.config.load import load
from accel_clf.training.run import train
step, seconds = loop.train_step, [0.0]
def timed(*args):
    began = time.process_time()
    result = step(*args)
    seconds[0] += time.process_time() - began
    return result
loop.train_step = timed
results = train(load(None, json.loads(sys.argv[1])))
figures = {"accuracy": results["test"]["accuracy"], "macro_f1": results["test"]["macro_f1"],
           "seconds": results["training"]["seconds"], "cpu": seconds[0],
           "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
print(json.dumps(figures))
"""

FOLDS = """
import json, sys
from accel_clf.config.load import load
from accel_clf.cross_validation.run import cross_validate
cross_validate(load(None, json.loads(sys.argv[1])))
print("{}")
"""

SERVE = """
import json, resource, sys
from pathlib import Path
import peft, transformers
from accel_clf.inference.predictor import Predictor
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
before = resident()
predictor = Predictor(Path(sys.argv[1]), "fp32", low_latency=True)
print(json.dumps({"added": resident() - before, "resident": resident(), "models": len(predictor.models)}))
"""

RELOAD = """
import json, sys, warnings
from pathlib import Path
import torch, transformers
from peft import PeftModel
from accel_clf.models import lora
from accel_clf.run_folder.layout import read_config
warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
run = Path(sys.argv[1])
config, rows = read_config(run), []
tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
outputs = transformers.AutoConfig.from_pretrained(run / "model").num_labels
auto = transformers.AutoModelForSequenceClassification
model = auto.from_pretrained(config.model.name, num_labels=outputs)
lora.add_adapters(model, config.model.lora, seed=0)
missing, unexpected = model.load_state_dict(lora.read_adapter(run / "adapter"), strict=False)
assert not unexpected and not any(".lora_" in name for name in missing)
merged, equal = auto.from_pretrained(run / "model").eval(), {"adapter": 0, "merged": 0}
for number in range(100):
    torch.manual_seed(number)
    texts = [f"text {number} of a hundred", "another one, which is longer"]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    loaded = PeftModel.from_pretrained(auto.from_pretrained(config.model.name, num_labels=outputs), run / "adapter")
    with torch.inference_mode():
        equal["adapter"] += torch.equal(loaded.eval()(**tokens).logits, model.eval()(**tokens).logits)
        equal["merged"] += torch.equal(loaded.merge_and_unload()(**tokens).logits, merged(**tokens).logits)
print(json.dumps(equal))
"""


def run(script: str, *args: str) -> dict[str, Any]:
    """Run a script in a process of its own; return what its last line says."""
    process = subprocess.run([sys.executable, "-c", script, *args], stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return figures


def settings(args: argparse.Namespace, rank: int | None, seed: int, output: Path) -> dict[str, Any]:
    """Return a run's settings."""
    rates: list[float | None] = args.rates or [None, None]
    return {
        "model": {"name": args.model, "lora": {"rank": rank, "modules": args.modules}},
        "data": {
            "train": args.train,
            "validation": None,
            "test": args.test,
            "limit": args.rows,
            "max_length": 128,
            "near_duplicates": False,
        },
        "training": {
            "epochs": args.epochs,
            "seed": seed,
            "learning_rate": rates[rank is not None],
            "precision": args.precision,
        },
        "output": str(output),
    }


def compare(args: argparse.Namespace, folder: Path) -> Path:
    """Train by both, print what they give, and return the last run with LoRA."""
    kinds: dict[str, int | None] = {"full": None, "LoRA": args.rank}
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for seed in range(args.seeds):
        for name in list(kinds)[:: -1 if seed % 2 else 1]:
            output = folder / f"{name}-{seed}"
            figures[name].append(run(TRAIN, json.dumps(settings(args, kinds[name], seed, output))))
    values = ("accuracy", "macro_f1", "seconds", "cpu", "peak")
    means = {name: {value: statistics.mean(f[value] for f in figures[name]) for value in values} for name in kinds}
    each = {name: " ".join(f"{f['accuracy']:.4f}" for f in figures[name]) for name in kinds}
    rows = [[name, *(f"{means[name][value]:.4g}" for value in values), each[name]] for name in kinds]
    print(format_table(["", *values[:-1], "peak MiB", "accuracy of each seed"], rows))
    full, adapters, last = means["full"], means["LoRA"], folder / f"LoRA-{args.seeds - 1}"
    sizes = [(last / path).stat().st_size for path in ("adapter/adapter_model.safetensors", "model/model.safetensors")]
    print(
        f"LoRA - full: {100 * (adapters['accuracy'] - full['accuracy']):+.2f} points; "
        f"{full['cpu'] / adapters['cpu']:.2f} times as fast by CPU time, {full['seconds'] / adapters['seconds']:.2f} "
        f"by the clock; peak {adapters['peak'] / full['peak']:.0%}; adapter {sizes[0] / sizes[1]:.2%} of the model"
    )
    return last


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder or Hub id")
    parser.add_argument("--train", required=True, help="a file")
    parser.add_argument("--test", required=True, help="a file with the same labels")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rates", type=float, nargs=2, help="learning rates of full tuning and LoRA (default: ours)")
    parser.add_argument("--modules", nargs="+", help="model.lora.modules")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--folds_rows", type=int, default=400, help="rows of the cross-validation that is served")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        last = compare(args, folder)
        equal = run(RELOAD, str(last))
        print(f"bit for bit: adapter {equal['adapter']} of 100, merged model {equal['merged']} of 100")
        of_folds = settings(args, args.rank, 0, folder / "cv")
        of_folds["data"] |= {"limit": args.folds_rows, "test": None}
        of_folds["training"]["epochs"] = 1
        run(FOLDS, json.dumps(of_folds))
        one, five = (run(SERVE, str(path)) for path in (folder / "cv" / "fold-0", folder / "cv"))
        sizes = [f"{figures['resident']:.0f} MiB, {figures['added']:.0f} of them for models" for figures in (one, five)]
        print(
            f"served: one fold {sizes[0]}; {five['models']} folds {sizes[1]}: {five['added'] / one['added']:.2f} times"
        )


if __name__ == "__main__":
    main()
