"""A naive server, Flask with a pipeline and a thread per request: `python -m benchmarks.plain_flask FOLDER PORT`."""

import sys

from flask import Flask, request
from transformers import pipeline

app = Flask(__name__)
classifier = pipeline("text-classification", model=sys.argv[1], device="cpu", top_k=None, truncation=True)


@app.post("/predict")
def predict() -> list[list[dict[str, float | str]]]:
    predictions: list[list[dict[str, float | str]]] = classifier([request.json["inputs"]])
    return predictions


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[2]), threaded=True)
