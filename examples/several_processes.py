"""Train, predict and evaluate on several processes, here two on the CPU.

accelerate launch --config_file accelerate_configs/multi_cpu.yaml examples/several_processes.py [OUTPUT_FOLDER]
"""

import os
import sys

import accel_clf

# Every process calls the same functions with the same arguments: they share the rows, and wait for each other.
run = accel_clf.train(
    {
        "data": {"limit": 4000},
        "batch": {"size": 16},  # per process: steps of 32 rows with two
        "training": {"epochs": 3},
        "evaluation": {"baseline": False},
        "output": sys.argv[1] if len(sys.argv) > 1 else "runs/several-processes",
    }
)
predictions = run.predict(["i never thought the soup was dull.", "i found the plot tedious."])
metrics = run.evaluate("demo")

if os.environ.get("RANK", "0") == "0":  # each process has the whole result; one prints it
    print(f"{os.environ.get('WORLD_SIZE', '1')} processes: accuracy {metrics['accuracy']:.4f} on {metrics.rows} rows")
    print(f"labels: {', '.join(prediction['label'] for prediction in predictions)}")
