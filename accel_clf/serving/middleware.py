"""Handling that all requests share: request ids, authentication, limits, response headers, errors as JSON, metrics."""

import hmac
import logging
import re
import time
import uuid
from collections.abc import Sequence

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from accel_clf.core.errors import DataError
from accel_clf.serving import cors
from accel_clf.serving.errors import (
    CLIENT_CLOSED_REQUEST,
    ApiError,
    ClientDisconnectedError,
    FailedTextsError,
    NotFiniteError,
    OverloadedError,
    RequestTimeoutError,
    ShuttingDownError,
    TooLongError,
    error_response,
    format_data_error,
)
from accel_clf.serving.prometheus import ServerMetrics
from accel_clf.serving.service import Service

MEGABYTE = 2**20  # bytes
# The page loads everything from this server, and nothing else may run in it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

logger = logging.getLogger("accel_clf.serving")


def register_middleware(app: Flask, service: Service, metrics: ServerMetrics, api_key: str | None) -> None:
    """Register the hooks that run before and after each request, and the error handlers.

    Args:
        app: the application.
        service: the service, whose settings hold the limits.
        metrics: the metrics, in which responses are counted.
        api_key: the key that clients must send; None for no authentication.
    """
    settings = service.settings

    @app.before_request
    def check_request() -> Response | None:
        g.began = time.perf_counter()
        client_id = request.headers.get("X-Request-ID", "")
        g.id = client_id if re.fullmatch(r"[\w.:-]{1,128}", client_id) else uuid.uuid4().hex
        if settings.origins and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            if not cors.is_allowed(request.headers.get("Origin", ""), settings.origins):
                raise ApiError(400, f"Origin {request.headers.get('Origin', '')!r} is not one of this server's origins")
            return Response(status=204, headers=cors.preflight_headers())  # browsers ask without the key
        if request.path.startswith("/health/"):
            return None
        if settings.names and not _is_host_in(settings.names):
            raise ApiError(400, f"Host {request.headers.get('Host', '')!r} is not one of this server's names")
        if api_key and not _has_key(api_key):
            raise ApiError(
                401, "an API key is required", "Unauthorized", {"WWW-Authenticate": 'Basic realm="accel_clf"'}
            )
        if service.is_full and request.path in ("/predict", "/explain"):
            raise OverloadedError  # before the body is parsed: rejecting load must not cost what predictions need
        if request.path == "/predict/file":
            request.max_content_length = int(settings.max_file_megabytes * MEGABYTE)
        return None

    @app.after_request
    def complete_response(response: Response) -> Response:
        seconds = time.perf_counter() - g.began
        rule = request.url_rule.rule if request.url_rule else "none"
        metrics.count_response(request.method, rule, response.status_code, seconds)
        if settings.log_requests:
            # Neither query strings nor bodies: texts are private.
            logger.info("%s %s %s %s %.1f ms", g.id, request.method, rule, response.status_code, 1000 * seconds)
        response.headers.update(
            {
                "X-Request-ID": g.id,
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Content-Security-Policy": g.get("content_policy", CONTENT_SECURITY_POLICY),
                "Cache-Control": "no-cache" if response.mimetype in ("text/css", "text/javascript") else "no-store",
                "Server-Timing": f"total;dur={1000 * seconds:.1f}",
                **cors.response_headers(request.headers.get("Origin", ""), settings.origins),
            }
        )
        return response

    @app.errorhandler(ApiError)
    def handle_api_error(error: ApiError) -> Response:
        return error_response(error.status, error.message, error.error_type, error.headers)

    @app.errorhandler(HTTPException)
    def handle_http_exception(error: HTTPException) -> Response:
        kept = ("Allow", "Location")
        headers = {name: value for name, value in error.get_headers(None) if name in kept}
        return error_response(error.code or 500, error.description or error.name, headers=headers)

    @app.errorhandler(OverloadedError)
    def handle_overload(_: OverloadedError) -> Response:
        headers = {"Retry-After": str(service.retry_after)}
        return error_response(429, "the server is overloaded", headers=headers)

    @app.errorhandler(RequestTimeoutError)
    def handle_timeout(_: RequestTimeoutError) -> Response:
        headers = {"Retry-After": str(service.retry_after)}
        return error_response(503, "the request timed out", "Overloaded", headers)

    @app.errorhandler(ClientDisconnectedError)
    def handle_disconnect(_: ClientDisconnectedError) -> Response:
        # Nobody reads this response, but it is counted.
        return error_response(CLIENT_CLOSED_REQUEST, "the client has disconnected", "Validation")

    @app.errorhandler(ShuttingDownError)
    def handle_shutdown(_: ShuttingDownError) -> Response:
        return error_response(503, "the server is shutting down")

    @app.errorhandler(TooLongError)
    def handle_too_long(error: TooLongError) -> Response:
        return error_response(422, f"{error}; with truncate: true it is truncated", "Tokenizer")

    @app.errorhandler(DataError)
    def handle_data_error(error: DataError) -> Response:
        return error_response(422, format_data_error(error))

    @app.errorhandler(FailedTextsError)
    def handle_failed_texts(error: FailedTextsError) -> Response:
        logger.warning("request %s: %s", g.id, error)
        return error_response(error.status, str(error))

    @app.errorhandler(NotFiniteError)
    def handle_not_finite(_: NotFiniteError) -> Response:
        logger.error("request %s: the model returned NaN or infinite scores", g.id)
        return error_response(500, "the model returned NaN or infinite scores")

    @app.errorhandler(Exception)
    def handle_exception(error: Exception) -> Response:
        logger.error("request %s failed", g.id, exc_info=error)
        return error_response(500, "the request failed; the reason is in the server's log")


def _has_key(api_key: str) -> bool:
    """Whether the request carries the key: as a bearer token, or as the password that a browser asks for."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        credential = token.strip().encode("latin-1")  # how WSGI decodes headers, whatever the client's encoding
    else:
        credential = ((request.authorization and request.authorization.password) or "").encode()
    return hmac.compare_digest(credential, api_key.encode())


def _is_host_in(names: Sequence[str]) -> bool:
    """Whether the request's Host is one of these names, with any port."""
    match = re.fullmatch(r"(\[.*\]|[^:]*)(:\d+)?", request.headers.get("Host", ""))
    return match is not None and match[1].lower() in {name.lower() for name in names}
