"""The endpoints."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources
from itertools import chain, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from flask import Flask, Response, g, render_template, request, send_from_directory
from spectree import Response as ResponseSpec
from spectree import SpecTree
from werkzeug.sansio.response import Response as SansioResponse

from accel_clf import __version__
from accel_clf.config.schema import FILE_SETTINGS
from accel_clf.core.errors import DataError
from accel_clf.data.texts import Text, side_names, sides
from accel_clf.inference.failures import Failure
from accel_clf.serving import file_upload, occlusion
from accel_clf.serving.errors import (
    ApiError,
    ClientDisconnectedError,
    FailedTextsError,
    OverloadedError,
    format_data_error,
)
from accel_clf.serving.prometheus import ServerMetrics
from accel_clf.serving.schema import (
    ErrorResponse,
    ExplainRequest,
    ExplainResponse,
    FileQuery,
    HealthResponse,
    InfoResponse,
    Parameters,
    PredictRequest,
    PredictResponse,
    SentenceQuery,
    SentenceResponse,
)
from accel_clf.serving.service import Service, ranked_outputs
from accel_clf.serving.tokenizer import TokenizedText
from accel_clf.targets.abstaining import Abstaining
from accel_clf.targets.label_names import listed

MAX_CONCURRENT_FILES = 4
MAX_WARNING_LENGTH = 1000  # proxies limit headers


def register_health_routes(app: Flask, api: SpecTree, service: Service, metrics: ServerMetrics) -> None:
    """Register the endpoints for operators: /health/live, /health/ready, /info and /metrics."""
    health_spec = ResponseSpec(HTTP_200=HealthResponse, HTTP_503=HealthResponse)

    def report_health(is_healthy: bool) -> tuple[dict[str, str], int]:
        return {"status": "ok" if is_healthy else "not ready"}, 200 if is_healthy else 503

    @app.get("/health/live")
    @api.validate(resp=health_spec, tags=["health"])
    def live() -> Any:
        """Liveness: if this fails, the server should be restarted."""
        return report_health(service.is_alive)

    @app.get("/health/ready")
    @api.validate(resp=health_spec, tags=["health"])
    def ready() -> Any:
        """Readiness: if this fails, requests should be sent elsewhere."""
        return report_health(service.is_ready)

    @app.get("/info")
    @api.validate(resp=ResponseSpec(HTTP_200=InfoResponse, HTTP_401=ErrorResponse), tags=["server"])
    def info() -> Any:
        """Describe the model and the limits on requests."""
        return service.info()

    @app.get("/metrics")
    @api.validate(
        resp=ResponseSpec(HTTP_200=(None, "Prometheus' text format"), HTTP_401=ErrorResponse), tags=["server"]
    )
    def prometheus_metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(metrics.render(), content_type=metrics.content_type)


def register_prediction_routes(
    app: Flask, api: SpecTree, service: Service, metrics: ServerMetrics, security: dict[str, list[str]] | None
) -> None:
    """Register the endpoints that run the model: /predict, /explain and /predict/file.

    Args:
        app: the application.
        api: the application's OpenAPI description.
        service: the service that scores texts.
        metrics: the metrics, in which texts and tokens are counted.
        security: the OpenAPI security requirement of these endpoints; None for none.
    """
    error_specs: dict[str, Any] = {
        f"HTTP_{status}": (ErrorResponse, description)
        for status, description in {
            400: "not JSON, or no texts", 401: "no API key, or a wrong one", 404: "no such label",
            413: "too many texts, or too large a request", 415: "unsupported media type",
            422: "not as described, or a text is too long",
            429: "overloaded: see Retry-After", 500: "the model is broken",
            503: "timed out, or the server is shutting down",
        }.items()
    }  # fmt: skip
    file_slots = threading.BoundedSemaphore(MAX_CONCURRENT_FILES)

    def tokenize(texts: Sequence[Text], truncate: bool = True, side: str | None = None) -> list[TokenizedText]:
        try:
            tokenized = service.tokenizer.tokenize(texts, truncate, side)
        except FailedTextsError as error:
            service.count_failed(error.failures)
            raise
        metrics.count_texts(len(tokenized), sum(len(text.ids) for text in tokenized))
        return tokenized

    def count_abstained(scores: np.ndarray) -> np.ndarray:
        if isinstance(service.target, Abstaining):
            metrics.count_abstained(int((~service.target.rule.answer(scores)[0]).sum()))
        return scores

    @app.post("/predict")
    @api.validate(
        resp=ResponseSpec(HTTP_200=(PredictResponse, "the labels of each text, the most likely first"), **error_specs),
        tags=["answers"], security=security,
    )  # fmt: skip
    def predict(json: PredictRequest) -> Any:
        """Classify one text or several."""
        texts = list(service.parse(json.inputs))
        if len(texts) > service.settings.max_texts:
            raise ApiError(413, f"{len(texts)} texts; at most {service.settings.max_texts} per request")
        top_k = (json.parameters or Parameters()).top_k
        side, function = json.truncation_direction, json.function()
        if function not in (None, service.target.function) and isinstance(service.target, Abstaining):
            raise ApiError(422, f"function_to_apply {function}: this server's answers, at a risk, go by probabilities")
        with service.admit():
            tokenized = tokenize(texts, json.should_truncate(), side and side.lower())
            scores, outputs = service.predict_outputs(tokenized, _disconnect_check(), function)
        if outputs is None:
            ranking = service.target.ranked(count_abstained(scores), top_k)
        else:
            ranking = ranked_outputs(service.target, scores, outputs, top_k)
        response = app.json.response(ranking)
        if ignored := json.ignored():
            _warn(response, f"unknown keys are ignored: {', '.join(ignored)}")
        if truncated := [str(index) for index, text in enumerate(tokenized) if text.is_truncated]:
            response.headers["X-Truncated"] = ",".join(truncated)
        return response

    @app.get("/predict")
    @api.validate(resp=ResponseSpec(HTTP_200=SentenceResponse, **error_specs), tags=["answers"], security=security)
    def predict_sentence(query: SentenceQuery) -> Any:
        """Classify the text in the query string."""
        inputs = query.sentence if query.sentence_pair is None else [query.sentence, query.sentence_pair]
        text = service.text_columns.parse(inputs, "sentence")
        with service.admit(), _located("sentence"):
            [tokenized] = tokenize([text])
            [scores] = service.predict_scores([tokenized], _disconnect_check())
        answer = service.target.answer(count_abstained(scores[None])[0])
        return {
            "response": {
                "sentence": query.sentence,
                "label": service.target.answer_text(answer),
                **({"set": answer["set"]} if "set" in answer else {}),
                "scores": dict(zip(service.target.names, scores.tolist(), strict=True)),
                "truncated": tokenized.is_truncated,
                "time_taken": time.perf_counter() - g.began,
            }
        }

    @app.post("/explain")
    @api.validate(resp=ResponseSpec(HTTP_200=ExplainResponse, **error_specs), tags=["answers"], security=security)
    def explain(json: ExplainRequest) -> Any:
        """Compute word importance: how much of its score the label loses when a word is left out (occlusion).

        The part of a long text that the model does not read is returned separately, with weight 0.
        """
        text = service.text_columns.parse(json.inputs, "inputs")
        with service.admit(), _located("inputs"):
            spans = service.tokenizer.find_read_spans(text)
            read = tuple(side[span] for side, span in zip(sides(text), spans, strict=True))
            words = [occlusion.split_text(side, occlusion.MAX_PARTS // len(read)) for side in read]
            tokenized = tokenize(occlusion.leave_one_out(words))
            scores = service.predict_scores(tokenized, _disconnect_check())
        names = service.target.names
        if json.label is not None and json.label not in names:
            raise ApiError(404, f"no label {json.label!r}; there are {listed(names)}")
        label = int(scores[0].argmax()) if json.label is None else names.index(json.label)
        weights = iter(occlusion.part_weights(scores[0], scores[1:], label))
        parts: list[dict[str, Any]] = []
        for name, side, span, of_side in zip(side_names(service.has_pairs), sides(text), spans, words, strict=True):
            weighted = [
                (side[: span.start], 0.0),
                *((word, next(weights)) for word in of_side),
                (side[span.stop :], 0.0),
            ]
            where = {"side": name} if service.has_pairs else {}
            parts += [{"text": part, "weight": weight, **where} for part, weight in weighted if part]
        return {
            "label": names[label],
            "score": float(scores[0][label]),
            "method": "occlusion",
            "truncated": any(span != slice(0, len(side)) for side, span in zip(sides(text), spans, strict=True)),
            "parts": parts,
        }

    @app.post("/predict/file")
    @api.validate(
        resp=ResponseSpec(
            HTTP_200=(None, "the file with columns predicted, score and one per class added"), **error_specs
        ),
        tags=["answers"],
        security=security,
    )
    def predict_file(query: FileQuery) -> Response:
        """Classify every line of a text file or every row of a table; the response is streamed.

        text/plain has one text per line. Tables are text/csv, text/tab-separated-values or application/x-ndjson; their
        rows are returned with all their columns. Instead of being the body, the file can be the part `file` of a
        multipart/form-data body; its type then follows from its name (.txt .csv .tsv .jsonl). A text that the model
        fails on ends the response, with an error that names its row if it is among the first ones, unless `errors` is
        `skip`.
        """
        if not file_slots.acquire(blocking=False):
            raise OverloadedError
        cleanup = ExitStack()
        cleanup.callback(file_slots.release)
        try:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="accel_clf-")))
            path, name = file_upload.save_upload(folder)
            names = (query.text,) if isinstance(query.text, str) else tuple(query.text or ())
            if query.pair and not service.has_pairs:
                raise ApiError(422, "pair: the model reads one text per row")
            if service.has_pairs and path.suffix == ".txt":
                raise ApiError(422, "a text a line has no pairs: expected a table")
            reading = query.model_dump(include={"pair", *FILE_SETTINGS}, exclude_none=True)
            reading["text"] = names if any(names) else service.text_columns.joined
            try:
                rows, count = file_upload.read_file(path, service.data.model_copy(update=reading))
            except DataError as error:  # names the temporary file; the client knows its own name only
                raise ApiError(422, format_data_error(error).replace(str(path), name)) from None
            notes = [note.replace(str(path), name) for note in rows.notes()]

            is_disconnected = _disconnect_check()

            def score_tokenized(texts: Sequence[TokenizedText]) -> np.ndarray:
                return count_abstained(service.predict_scores_with_retries(texts, is_disconnected))

            def score_texts(texts: Sequence[Text]) -> Iterable[np.ndarray | Failure]:
                return file_upload.score_each(score_tokenized, tokenize(texts), with_errors)

            suffix, with_errors = file_upload.response_suffix(path), query.errors == "skip"
            replaced = file_upload.replaced_columns(rows, service.target, suffix, with_errors)
            lines = file_upload.label_rows(rows, replaced, service.target, suffix, score_texts, with_errors)
            try:  # what fails before the response has started gets an error status: with the header or the first row
                first = b"".join(islice(lines, 2))
            except FailedTextsError as error:
                raise FailedTextsError(error.failures, (error.location or "").replace(str(path), name)) from None
            media_type = file_upload.MEDIA_TYPES[suffix][0]
            response = Response(chain([first], _until_disconnected(lines)), mimetype=media_type)
        except BaseException:
            cleanup.close()
            raise
        response.call_on_close(cleanup.close)
        download_name = f"{name.rpartition('.')[0]}-labelled{suffix}"
        ascii_name = download_name.encode("ascii", "ignore").decode()
        encoded_name = {} if ascii_name == download_name else {"filename*": f"UTF-8''{quote(download_name, safe='')}"}
        response.headers.set("Content-Disposition", "attachment", filename=ascii_name, **encoded_name)
        response.headers["X-Rows"] = str(count)
        if replaced:
            notes = [*notes, f"columns of these names are replaced: {', '.join(replaced)}"]
        if notes:
            _warn(response, "; ".join(notes))
        return response


def register_page_routes(app: Flask, api: SpecTree, service: Service) -> None:
    """Register the web page, the API documentation and /openapi.json."""

    @app.get("/")
    def page() -> str:
        return render_template("page.html", service=service, version=__version__)

    @app.get("/docs")
    def docs() -> str:
        return render_template("docs.html")

    @app.get("/docs/swagger.js")
    def swagger_script() -> Response:
        return send_from_directory(str(resources.files("offapi")), "swagger_bundle.js")

    @app.get("/docs/swagger.css")
    def swagger_style() -> Response:
        return send_from_directory(str(resources.files("offapi")), "swagger_style.css")

    @app.get("/openapi.json")
    def openapi() -> Any:
        return app.json.response(api.spec)


def _warn(response: SansioResponse, message: str) -> None:
    """Tell the client what it might not expect, in a header: one line of ASCII, whatever the client has sent."""
    response.headers["X-Warning"] = message.encode("unicode_escape").decode()[:MAX_WARNING_LENGTH]


@contextmanager
def _located(location: str) -> Iterator[None]:
    """Say where the text is that the client has sent, if the model fails on it, or on what is made of it."""
    try:
        yield
    except FailedTextsError as error:
        raise FailedTextsError(error.failures, location) from None


def _disconnect_check() -> Callable[[], bool]:
    """Return waitress' test whether this request's client has disconnected; other servers do not report it."""
    is_disconnected: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return is_disconnected


def _until_disconnected(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines until they end or the client disconnects."""
    with suppress(ClientDisconnectedError):
        yield from lines
