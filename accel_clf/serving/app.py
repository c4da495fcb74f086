"""A run as a web application: `create_app` makes one for any WSGI server."""

import hmac
import logging
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.resources import files as files_of
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from flask import Flask, Response, g, json, render_template, request, send_from_directory
from flask.json.provider import DefaultJSONProvider
from pydantic import ValidationError
from spectree import Response as Responses
from spectree import SecurityScheme, SpecTree
from spectree.models import SecureType, SecuritySchemeData
from spectree.plugins.flask_plugin import FlaskPlugin
from werkzeug.exceptions import BadRequest, HTTPException

from accel_clf import __version__
from accel_clf.config.schema import Serve
from accel_clf.core.errors import ConfigError, DataError
from accel_clf.data.readers import parse_json
from accel_clf.serving import file_upload, occlusion, schema
from accel_clf.serving.batcher import FullError, GoneError, LateError, StoppedError
from accel_clf.serving.prometheus import Observed
from accel_clf.serving.schema import (
    Answer,
    Column,
    Explanation,
    Health,
    Info,
    Problem,
    Question,
    Scores,
    Sentence,
    Text,
)
from accel_clf.serving.service import Encoded, NoNumberError, Service, TooLongError

KEY = "ACCEL_CLF_API_KEY"
MEGABYTE = 2**20
GONE = 499  # nginx's status for a client that has left
FILES_AT_ONCE = 4
# The page and its parts come from here, and nothing else may run in it.
CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Statuses and their kinds are those of Hugging Face's text-embeddings-inference, where it has one.
KINDS = {413: "Validation", 422: "Validation", 429: "Overloaded", 500: "Backend", 503: "Unhealthy"}

log = logging.getLogger("accel_clf.serving")


class RefusedError(Exception):
    """A request that is not answered, and why."""

    def __init__(self, status: int, why: str, kind: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.kind = status, why, kind or KINDS.get(status, "Validation")
        self.headers = headers or {}


class _StrictJSON(DefaultJSONProvider):
    sort_keys = False

    def loads(self, s: str | bytes, **options: Any) -> Any:
        return parse_json(s if isinstance(s, str) else s.decode("utf-8"))


class _Plugin(FlaskPlugin):
    """Spectree's, which takes what is no JSON for {}, and would check every answer."""

    def request_validation(self, request: Any, query: Any, json: Any, *others: Any) -> None:
        if json:
            try:
                found = request.get_json()
            except BadRequest as error:
                raise RefusedError(400, f"not JSON: {error.__cause__ or error.description}") from None
            if not isinstance(found, dict):
                raise RefusedError(422, "the body: expected an object with `inputs`")
        super().request_validation(request, query, json, *others)  # type: ignore[no-untyped-call]

    def validate_response(self, resp: Any, *_: Any) -> tuple[Any, None]:
        return resp, None


def create_app(run: str | Path, settings: Serve | None = None) -> Flask:
    """The application that answers with a trained run, or with a cross-validation's models together.

    Args:
        run: the folder.
        settings: of the server; None for their defaults.

    Returns:
        The application, with its Service as `extensions["accel_clf"]`.

    Raises:
        ConfigError: see Service.
    """
    settings = settings or Serve()
    service = Service(Path(run), settings)
    app = Flask(__name__)
    app.json = _StrictJSON(app)
    app.extensions["accel_clf"] = service
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_megabytes * MEGABYTE)
    observed = Observed(service)
    app.extensions["accel_clf_observed"] = observed
    key = os.environ.get(KEY)
    if key is not None and not key.strip():
        raise ConfigError(f"{KEY} is in the environment, and empty", "a key", f"unset {KEY}, if anybody may ask")
    api = SpecTree(
        backend=_Plugin,
        app=None,
        path="openapi",
        mode="strict",
        title="accel_clf",
        version=__version__,
        description="A text classifier. POST /predict follows the Hugging Face Hub's text-classification API.",
        before=_refuse_invalid,
        naming_strategy=lambda model: model.__name__,
        nested_naming_strategy=lambda parent, child: child,
        validation_error_model=Problem,
        security_schemes=[SecurityScheme(name="key", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer"))]
        if key
        else None,
    )  # fmt: skip
    api.app = app
    _around_requests(app, service, observed, key)
    _health(app, api, service, observed)
    _answers(app, api, service, observed, {"key": []} if key else None)
    _pages(app, api, service)
    with app.app_context():
        operation = api.spec["paths"]["/predict/file"]["post"]
    # Of the types that it takes, the one whose right contents a schema can tell; the description names the others.
    operation["requestBody"] = {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}
    return app


def _around_requests(app: Flask, service: Service, observed: Observed, key: str | None) -> None:
    """What holds for every request: id, key, limits, headers, errors in JSON, one count."""
    settings = service.settings

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        g.id = given if re.fullmatch(r"[\w.:-]{1,128}", given) else uuid.uuid4().hex
        if request.path.startswith("/health/"):
            return
        if settings.names and not _is_for(settings.names):
            raise RefusedError(400, f"Host {request.headers.get('Host', '')!r} is none of this server's names")
        if key and not _has(key):
            raise RefusedError(401, "a key is needed", "Unauthorized", {"WWW-Authenticate": 'Basic realm="accel_clf"'})
        if service.full and request.path in ("/predict", "/explain"):
            raise FullError  # before its body is parsed: a refusal must not take what answers need
        if request.path == "/predict/file":
            request.max_content_length = int(settings.max_file_megabytes * MEGABYTE)

    @app.after_request
    def end(response: Response) -> Response:
        taken = time.perf_counter() - g.began
        rule = request.url_rule.rule if request.url_rule else "none"
        observed.answered(request.method, rule, response.status_code, taken)
        if settings.log_requests:
            # Not what was asked: texts are their owners'.
            log.info("%s %s %s %s %.1f ms", g.id, request.method, rule, response.status_code, 1000 * taken)
        response.headers.update(
            {
                "X-Request-ID": g.id,
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Content-Security-Policy": CONTENT,
                "Cache-Control": "no-cache" if response.mimetype in ("text/css", "text/javascript") else "no-store",
                "Server-Timing": f"total;dur={1000 * taken:.1f}",
            }
        )
        return response

    @app.errorhandler(RefusedError)
    def refused(error: RefusedError) -> Response:
        return problem(error.status, error.why, error.kind, error.headers)

    @app.errorhandler(HTTPException)
    def by_flask(error: HTTPException) -> Response:
        kept = ("Allow", "Location")
        headers = {name: value for name, value in error.get_headers(None) if name in kept}
        return problem(error.code or 500, error.description or error.name, headers=headers)

    @app.errorhandler(FullError)
    def full(_: FullError) -> Response:
        wait = str(service.seconds_to_wait)
        return problem(429, "as much is in work as may be", headers={"Retry-After": wait})

    @app.errorhandler(LateError)
    def late(_: LateError) -> Response:
        wait = str(service.seconds_to_wait)
        return problem(503, "it has taken too long", "Overloaded", {"Retry-After": wait})

    @app.errorhandler(GoneError)
    def gone(_: GoneError) -> Response:
        return problem(GONE, "nobody waits for this answer", "Validation")  # so it is counted, and read by nobody

    @app.errorhandler(StoppedError)
    def stopped(_: StoppedError) -> Response:
        return problem(503, "the server is ending")

    @app.errorhandler(TooLongError)
    def too_long(error: TooLongError) -> Response:
        return problem(422, f"{error}; with truncate: true it is cut", "Tokenizer")

    @app.errorhandler(DataError)
    def unreadable(error: DataError) -> Response:
        return problem(422, _told(error))

    @app.errorhandler(NoNumberError)
    def no_number(_: NoNumberError) -> Response:
        log.error("request %s: the model answers with no number", g.id)
        return problem(500, "the model answers with no number")

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        log.error("request %s failed", g.id, exc_info=error)
        return problem(500, "this request has failed; the server's log says why")


def problem(status: int, why: str, kind: str = "", headers: dict[str, str] | None = None) -> Response:
    """An answer that says why there is none."""
    told = {"error": why, "error_type": kind or KINDS.get(status, "Validation"), "request_id": g.id}
    return Response(json.dumps(told), status, headers, mimetype="application/json")


def _has_left() -> Callable[[], bool]:
    """Whether this request's client has left, as far as the server says."""
    told: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return told


def _told(error: DataError) -> str:
    return f"{error.got}; expected: {error.expected}" if error.expected else error.got


def _has(key: str) -> bool:
    """Whether a request has the key: as a bearer's token, or as the password that a browser asks for."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        shown = token.strip().encode("latin-1")  # as headers come, whatever was meant
    else:
        shown = ((request.authorization and request.authorization.password) or "").encode()
    return hmac.compare_digest(shown, key.encode())


def _is_for(names: Sequence[str]) -> bool:
    """Whether a request's Host is one of these names, with any port."""
    found = re.fullmatch(r"(\[.*\]|[^:]*)(:\d+)?", request.headers.get("Host", ""))
    return found is not None and found[1].lower() in {name.lower() for name in names}


def _refuse_invalid(request: Any, response: Any, error: Exception | None, *_: Any) -> None:
    if not isinstance(error, ValidationError):
        return
    problems = error.errors()
    first, *others = problems
    if any(one["type"] == "too_short" for one in problems):
        raise RefusedError(400, "inputs: no texts", "Empty")
    if others and first["loc"][0] == "inputs":  # neither of the two things that it may be
        wrong = next((f"[{part}]" for one in problems for part in one["loc"] if isinstance(part, int)), "")
        raise RefusedError(422, f"inputs{wrong}: expected a text{'' if wrong else ' or a list of texts'}")
    place = ".".join(map(str, first["loc"]))
    raise RefusedError(422, f"{place or 'the body'}: {first['msg']}")


def _health(app: Flask, api: SpecTree, service: Service, observed: Observed) -> None:
    well = Responses(HTTP_200=Health, HTTP_503=Health)

    def health(good: bool) -> tuple[dict[str, str], int]:
        return {"status": "ok" if good else "not ready"}, 200 if good else 503

    @app.get("/health/live")
    @api.validate(resp=well, tags=["health"])
    def live() -> Any:
        """Whether it makes sense to let this server live."""
        return health(service.alive)

    @app.get("/health/ready")
    @api.validate(resp=well, tags=["health"])
    def ready() -> Any:
        """Whether it makes sense to ask this server."""
        return health(service.ready)

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


def _answers(app: Flask, api: SpecTree, service: Service, observed: Observed, key: dict[str, list[str]] | None) -> None:
    refusals: dict[str, Any] = {
        f"HTTP_{status}": (Problem, why)
        for status, why in {
            400: "not JSON, or no texts", 401: "no key, or a wrong one", 413: "too many texts, or too large a request",
            415: "of another type", 422: "not as described, or too long a text",
            429: "too much is in work: see Retry-After", 500: "the model is broken",
            503: "too late, or the server is ending",
        }.items()
    }  # fmt: skip

    def encode(texts: Sequence[str], truncate: bool = True) -> list[Encoded]:
        rows = service.encode(texts, truncate)
        observed.read(len(rows), sum(len(row.ids) for row in rows))
        return rows

    @app.post("/predict")
    @api.validate(
        resp=Responses(HTTP_200=(Scores, "for each text its labels, the likeliest first"), **refusals),
        tags=["answers"], security=key,
    )  # fmt: skip
    def predict(json: Question) -> Any:
        """Label one text or several."""
        texts = [json.inputs] if isinstance(json.inputs, str) else json.inputs
        if len(texts) > service.settings.max_texts:
            raise RefusedError(413, f"{len(texts)} texts; at most {service.settings.max_texts} a request")
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
    @api.validate(resp=Responses(HTTP_200=Answer, **refusals), tags=["answers"], security=key)
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
            raise FullError
        cleanup = ExitStack()
        cleanup.callback(places.release)
        try:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="accel_clf-")))
            (path, name), column = _received(folder), query.text or service.text_column
            try:
                rows = file_upload.check(path, column)
            except DataError as error:  # of the user's file, not of where it lies here
                raise RefusedError(422, _told(error).replace(str(path), name)) from None

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
    with suppress(GoneError):
        yield from lines


def _received(folder: Path) -> tuple[Path, str]:
    """The file that a request has brought, put into a folder under its suffix, and the name that its sender gave it."""
    if request.mimetype == "multipart/form-data":
        upload = request.files.get("file")
        if upload is None:
            raise RefusedError(422, "no part `file` with a file")
        given = re.split(r"[\\/]", upload.filename or "")[-1]
        name = "".join(letter for letter in given if letter.isprintable())[-100:]
        suffix = f".{name.rpartition('.')[2]}".lower()
        if suffix not in file_upload.KINDS:
            raise RefusedError(422, f"{name or 'a file without a name'}: expected one of {' '.join(file_upload.KINDS)}")
        path = folder / f"file{suffix}"
        upload.save(path)
        return path, name
    kind = next((kind for kind, types in file_upload.KINDS.items() if request.mimetype in types), None)
    if kind is None:
        wanted = ", ".join([*(types[0] for types in file_upload.KINDS.values()), "multipart/form-data"])
        raise RefusedError(415, f"{request.mimetype or 'no type'}; expected one of {wanted}")
    path = folder / f"file{kind}"
    with path.open("wb") as file:
        shutil.copyfileobj(request.stream, file)
    return path, path.name


def _pages(app: Flask, api: SpecTree, service: Service) -> None:
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
