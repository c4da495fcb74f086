"""What holds for every request: id, key, limits, headers, errors in JSON, one count."""

import hmac
import logging
import re
import time
import uuid
from collections.abc import Sequence

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from accel_clf.core.errors import DataError
from accel_clf.serving.errors import (
    GONE,
    ApiError,
    ClientDisconnectedError,
    NotFiniteError,
    OverloadedError,
    RequestTimeoutError,
    ShuttingDownError,
    TooLongError,
    data_problem,
    error_response,
)
from accel_clf.serving.prometheus import ServerMetrics
from accel_clf.serving.service import Service

MEGABYTE = 2**20
# The page and its parts come from here, and nothing else may run in it.
CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

logger = logging.getLogger("accel_clf.serving")


def around_requests(app: Flask, service: Service, observed: ServerMetrics, key: str | None) -> None:
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
            raise ApiError(400, f"Host {request.headers.get('Host', '')!r} is none of this server's names")
        if key and not _has(key):
            raise ApiError(401, "a key is needed", "Unauthorized", {"WWW-Authenticate": 'Basic realm="accel_clf"'})
        if service.full and request.path in ("/predict", "/explain"):
            raise OverloadedError  # before its body is parsed: a refusal must not take what answers need
        if request.path == "/predict/file":
            request.max_content_length = int(settings.max_file_megabytes * MEGABYTE)

    @app.after_request
    def end(response: Response) -> Response:
        taken = time.perf_counter() - g.began
        rule = request.url_rule.rule if request.url_rule else "none"
        observed.answered(request.method, rule, response.status_code, taken)
        if settings.log_requests:
            # Not what was asked: texts are their owners'.
            logger.info("%s %s %s %s %.1f ms", g.id, request.method, rule, response.status_code, 1000 * taken)
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

    @app.errorhandler(ApiError)
    def refused(error: ApiError) -> Response:
        return error_response(error.status, error.why, error.kind, error.headers)

    @app.errorhandler(HTTPException)
    def by_flask(error: HTTPException) -> Response:
        kept = ("Allow", "Location")
        headers = {name: value for name, value in error.get_headers(None) if name in kept}
        return error_response(error.code or 500, error.description or error.name, headers=headers)

    @app.errorhandler(OverloadedError)
    def full(_: OverloadedError) -> Response:
        wait = str(service.seconds_to_wait)
        return error_response(429, "as much is in work as may be", headers={"Retry-After": wait})

    @app.errorhandler(RequestTimeoutError)
    def late(_: RequestTimeoutError) -> Response:
        wait = str(service.seconds_to_wait)
        return error_response(503, "it has taken too long", "Overloaded", {"Retry-After": wait})

    @app.errorhandler(ClientDisconnectedError)
    def gone(_: ClientDisconnectedError) -> Response:
        return error_response(
            GONE, "nobody waits for this answer", "Validation"
        )  # so it is counted, and read by nobody

    @app.errorhandler(ShuttingDownError)
    def stopped(_: ShuttingDownError) -> Response:
        return error_response(503, "the server is ending")

    @app.errorhandler(TooLongError)
    def too_long(error: TooLongError) -> Response:
        return error_response(422, f"{error}; with truncate: true it is cut", "Tokenizer")

    @app.errorhandler(DataError)
    def unreadable(error: DataError) -> Response:
        return error_response(422, data_problem(error))

    @app.errorhandler(NotFiniteError)
    def no_number(_: NotFiniteError) -> Response:
        logger.error("request %s: the model answers with no number", g.id)
        return error_response(500, "the model answers with no number")

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        logger.error("request %s failed", g.id, exc_info=error)
        return error_response(500, "this request has failed; the server's log says why")


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
