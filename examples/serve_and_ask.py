"""Serve a run over HTTP, ask it, and shut it down without losing a request. Trains a small demo first if needed.

python examples/serve_and_ask.py [RUN_FOLDER]

Needs the extra `serve`: pip install '.[serve]'.
"""

import json
import re
import subprocess
import sys
from urllib.request import Request, urlopen

import accel_clf

output = sys.argv[1] if len(sys.argv) > 1 else "runs/serve-and-ask"
run = accel_clf.train({"data": {"limit": 4000}, "training": {"epochs": 3}, "output": output})

# `accel-clf serve RUN --port 0`: any free port
command = [sys.executable, "-m", "accel_clf.cli", "serve", str(run.path), "--port", "0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
    assert server.stdout
    try:
        address = next(match[1] for line in server.stdout if (match := re.match(r"listening on (http://\S+)", line)))
        texts = ["i never thought the soup was dull.", "i found the plot tedious."]
        body = json.dumps({"inputs": texts}).encode()
        with urlopen(Request(f"{address}/predict", body, {"Content-Type": "application/json"})) as response:
            for text, scores in zip(texts, json.load(response), strict=True):
                print(f"{scores[0]['label']}  {scores[0]['score']:.4f}  {text}")
    finally:
        server.terminate()  # SIGTERM: requests in flight are answered first
print(f"the server ended with exit code {server.returncode}")
