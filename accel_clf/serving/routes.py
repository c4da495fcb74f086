"""The routes of the application."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.resources import files as files_of
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from flask import Flask, Response, g, render_template, request, send_from_directory
from spectree import Response as Responses
from spectree import SpecTree

from accel_clf import __version__
from accel_clf.core.errors import DataError
from accel_clf.serving import file_upload, occlusion, schema
from accel_clf.serving.errors import ApiError, ClientDisconnectedError, OverloadedError, data_problem
from accel_clf.serving.prometheus import ServerMetrics
from accel_clf.serving.schema import (
    Column,
    Explanation,
    Health,
    Info,
    PredictRequest,
    PredictResponse,
    Problem,
    Scores,
    Sentence,
    Text,
)
from accel_clf.serving.service import Service, TokenizedText

FILES_AT_ONCE = 4


def _has_left() -> Callable[[], bool]:
    """Whether this request's client has left, as far as the server says."""
    told: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return told


def health(app: Flask, api: SpecTree, service: Service, observed: ServerMetrics) -> None:
    well = Responses(HTTP_200=Health, HTTP_503=Health)

    def status(good: bool) -> tuple[dict[str, str], int]:
        return {"status": "ok" if good else "not ready"}, 200 if good else 503

    @app.get("/health/live")
    @api.validate(resp=well, tags=["health"])
    def live() -> Any:
        """Whether it makes sense to let this server live."""
        return status(service.alive)

    @app.get("/health/ready")
    @api.validate(resp=well, tags=["health"])
    def ready() -> Any:
        """Whether it makes sense to ask this server."""
        return status(service.ready)

    @app.get("/info")
    @api.validate(resp=Responses(HTTP_200=Info, HTTP_401=Problem), tags=["server"])
    def info() -> Any:
        """The model, and the limits that requests have."""
        return service.info()

    @app.get("/metrics")
    @api.validate(resp=Responses(HTTP_200=(None, "Prometheus' text format"), HTTP_401=Problem), tags=["server"])
    def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(observed.as_text(), content_type=observed.content_type)


def answers(
    app: Flask, api: SpecTree, service: Service, observed: ServerMetrics, key: dict[str, list[str]] | None
) -> None:
    refusals: dict[str, Any] = {
        f"HTTP_{status}": (Problem, why)
        for status, why in {
            400: "not JSON, or no texts", 401: "no key, or a wrong one", 413: "too many texts, or too large a request",
            415: "of another type", 422: "not as described, or too long a text",
            429: "too much is in work: see Retry-After", 500: "the model is broken",
            503: "too late, or the server is ending",
        }.items()
    }  # fmt: skip

    def encode(texts: Sequence[str], truncate: bool = True) -> list[TokenizedText]:
        rows = service.encode(texts, truncate)
        observed.read(len(rows), sum(len(row.ids) for row in rows))
        return rows

    @app.post("/predict")
    @api.validate(
        resp=Responses(HTTP_200=(Scores, "for each text its labels, the likeliest first"), **refusals),
        tags=["answers"], security=key,
    )  # fmt: skip
    def predict(json: PredictRequest) -> Any:
        """Label one text or several."""
        texts = [json.inputs] if isinstance(json.inputs, str) else json.inputs
        if len(texts) > service.settings.max_texts:
            raise ApiError(413, f"{len(texts)} texts; at most {service.settings.max_texts} a request")
        parameters = json.parameters or schema.Parameters()
        with service.admitted():
            rows = encode(texts, parameters.truncate)
            scores = service.scores(rows, _has_left(), parameters.function_to_apply or "softmax")
        order = np.argsort(-scores, axis=1, kind="stable")[:, : parameters.top_k]
        response = app.json.response(
            [
                [{"label": service.labels[code], "score": float(own[code])} for code in codes]
                for own, codes in zip(scores, order, strict=True)
            ]
        )
        if cut := [str(place) for place, row in enumerate(rows) if row.cut]:
            response.headers["X-Truncated"] = ",".join(cut)
        return response

    @app.get("/predict")
    @api.validate(resp=Responses(HTTP_200=PredictResponse, **refusals), tags=["answers"], security=key)
    def predict_sentence(query: Sentence) -> Any:
        """Label the text in the address."""
        with service.admitted():
            rows = encode([query.sentence])
            scores = service.scores(rows, _has_left())[0]
        return {
            "response": {
                "sentence": query.sentence,
                "label": service.labels[int(scores.argmax())],
                "scores": dict(zip(service.labels, scores.tolist(), strict=True)),
                "truncated": rows[0].cut,
                "time_taken": time.perf_counter() - g.began,
            }
        }

    @app.post("/explain")
    @api.validate(resp=Responses(HTTP_200=Explanation, **refusals), tags=["answers"], security=key)
    def explain(json: Text) -> Any:
        """Weigh a text's words: what the label's score loses when each is left out (occlusion).

        What the model does not read of a long text is a part of its own, which weighs nothing.
        """
        with service.admitted():
            read = service.part_read(json.inputs)
            pieces = occlusion.parts(json.inputs[read])
            rows = encode([json.inputs[read], *occlusion.without_each(pieces)])
            scores = service.scores(rows, _has_left())
        label, weights = occlusion.weights(scores[0], scores[1:])
        before, after = json.inputs[: read.start], json.inputs[read.stop :]
        parts = [(before, 0.0), *zip(pieces, weights, strict=True), (after, 0.0)]
        return {
            "label": service.labels[label],
            "score": float(scores[0][label]),
            "method": "occlusion",
            "truncated": bool(before or after),
            "parts": [{"text": text, "weight": weight} for text, weight in parts if text],
        }

    places = threading.BoundedSemaphore(FILES_AT_ONCE)

    @app.post("/predict/file")
    @api.validate(
        resp=Responses(HTTP_200=(None, "the file, with the columns predicted, score and one a class"), **refusals),
        tags=["answers"],
        security=key,
    )
    def predict_file(query: Column) -> Response:
        """Label every line of a text, or every row of a table; the answer is streamed.

        text/plain is a text a line. Tables are text/csv, text/tab-separated-values or application/x-ndjson: their rows
        come back with all their columns. In place of the body, the file may be the part `file` of multipart/form-data;
        its name then says what it is (.txt .csv .tsv .jsonl).
        """
        if not places.acquire(blocking=False):
            raise OverloadedError
        cleanup = ExitStack()
        cleanup.callback(places.release)
        try:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="accel_clf-")))
            (path, name), column = file_upload.receive(folder), query.text or service.text_column
            try:
                rows = file_upload.check(path, column)
            except DataError as error:  # of the user's file, not of where it lies here
                raise ApiError(422, data_problem(error).replace(str(path), name)) from None

            has_left = _has_left()

            def score(texts: Sequence[str]) -> np.ndarray:
                encoded = service.encode(texts)
                observed.read(len(encoded), sum(len(row.ids) for row in encoded))
                return service.scores_patiently(encoded, has_left)

            lines = file_upload.labelled(path, column, service.labels, score)
            first = next(lines, b"")  # what can fail at once, fails with its own status
            response = Response(chain([first], _unless_gone(lines)), mimetype=file_upload.answered_as(path))
        except BaseException:
            cleanup.close()
            raise
        response.call_on_close(cleanup.close)
        answer = f"{name.rpartition('.')[0]}-labelled{'.csv' if path.suffix == '.txt' else path.suffix}"
        in_ascii = answer.encode("ascii", "ignore").decode()
        whole = {} if in_ascii == answer else {"filename*": f"UTF-8''{quote(answer, safe='')}"}
        response.headers.set("Content-Disposition", "attachment", filename=in_ascii, **whole)
        response.headers["X-Rows"] = str(rows)
        return response


def _unless_gone(lines: Iterator[bytes]) -> Iterator[bytes]:
    """An answer's lines, to their end or until nobody reads them."""
    with suppress(ClientDisconnectedError):
        yield from lines


def pages(app: Flask, api: SpecTree, service: Service) -> None:
    @app.get("/")
    def page() -> str:
        return render_template("page.html", service=service, version=__version__)

    @app.get("/docs")
    def docs() -> str:
        return render_template("docs.html")

    @app.get("/docs/swagger.js")
    def swagger_script() -> Response:
        return send_from_directory(str(files_of("offapi")), "swagger_bundle.js")

    @app.get("/docs/swagger.css")
    def swagger_style() -> Response:
        return send_from_directory(str(files_of("offapi")), "swagger_style.css")

    @app.get("/openapi.json")
    def openapi() -> Any:
        return app.json.response(api.spec)
