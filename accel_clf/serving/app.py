"""The Flask application that serves a run: `create_app` returns it, for any WSGI server."""

import os
from pathlib import Path
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from jinja2 import StrictUndefined
from pydantic import ValidationError
from spectree import SecurityScheme, SpecTree
from spectree.models import SecureType, SecuritySchemeData
from spectree.plugins.flask_plugin import FlaskPlugin
from werkzeug.exceptions import BadRequest

from accel_clf import __version__
from accel_clf.config.serve_schema import ServeConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.readers.json_files import parse_json
from accel_clf.serving.errors import ApiError
from accel_clf.serving.middleware import MEGABYTE, register_middleware
from accel_clf.serving.openapi import describe_texts
from accel_clf.serving.prometheus import ServerMetrics
from accel_clf.serving.report_page import register_report_route
from accel_clf.serving.routes import register_health_routes, register_page_routes, register_prediction_routes
from accel_clf.serving.schema import ErrorResponse
from accel_clf.serving.service import Service

API_KEY_VARIABLE = "ACCEL_CLF_API_KEY"


def create_app(run: str | Path, settings: ServeConfig | None = None) -> Flask:
    """Create the application that serves a trained run, or a cross-validation's models as an ensemble.

    Args:
        run: the run folder.
        settings: the server's settings; None for the defaults.

    Returns:
        The application, with its Service as `extensions["accel_clf"]` and its ServerMetrics as
        `extensions["accel_clf_metrics"]`.

    Raises:
        ConfigError: see Service, or the API key in the environment is empty.
    """
    settings = settings or ServeConfig()
    service = Service(Path(run), settings)
    metrics = ServerMetrics(service)
    app = Flask(__name__)
    app.json = _StrictJSONProvider(app)
    app.jinja_env.undefined = StrictUndefined  # a name that a template gets wrong is an error, not nothing
    app.extensions["accel_clf"] = service
    app.extensions["accel_clf_metrics"] = metrics
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_megabytes * MEGABYTE)
    api_key = os.environ.get(API_KEY_VARIABLE)
    if api_key is not None and not api_key.strip():
        raise ConfigError(
            f"{API_KEY_VARIABLE} is set in the environment, but empty",
            "a key",
            f"unset {API_KEY_VARIABLE} to serve without a key",
        )
    api = _create_api(with_key=bool(api_key))
    api.app = app
    register_middleware(app, service, metrics, api_key)
    register_health_routes(app, api, service, metrics)
    register_prediction_routes(app, api, service, metrics, {"key": []} if api_key else None)
    register_page_routes(app, api, service)
    register_report_route(app, Path(run))
    with app.app_context():
        describe_texts(api.spec, service.text_columns)
        operation = api.spec["paths"]["/predict/file"]["post"]
    # Of the media types that it accepts, the only one for which a schema can say what is valid; the rest are in the
    # description. It has no pairs.
    media_type = "text/csv" if service.has_pairs else "text/plain"
    operation["requestBody"] = {"required": True, "content": {media_type: {"schema": {"type": "string"}}}}
    return app


def _create_api(with_key: bool) -> SpecTree:
    key_scheme = SecurityScheme(name="key", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer"))
    return SpecTree(
        backend=_RequestPlugin,
        app=None,
        path="openapi",
        mode="strict",
        title="accel_clf",
        version=__version__,
        description="A text classifier. POST /predict follows the Hugging Face Hub's text-classification API.",
        before=_refuse_invalid,
        naming_strategy=lambda model: model.__name__,
        nested_naming_strategy=lambda parent, child: child,
        validation_error_model=ErrorResponse,
        security_schemes=[key_scheme] if with_key else None,
    )


def _refuse_invalid(request: Any, response: Any, error: Exception | None, *_: Any) -> None:
    """Spectree's hook after validation: raise an ApiError that says in one line what is wrong.

    Raises:
        ApiError: the request is invalid.
    """
    if not isinstance(error, ValidationError):
        return
    problems = error.errors()
    first, *others = problems
    if any(problem["type"] == "too_short" for problem in problems):
        raise ApiError(400, "inputs: no texts", "Empty")
    if others and first["loc"][0] == "inputs":  # neither a string nor a list, and pydantic reports both
        index = next((f"[{part}]" for problem in problems for part in problem["loc"] if isinstance(part, int)), "")
        raise ApiError(422, f"inputs{index}: expected a text{'' if index else ' or a list of texts'}")
    location = ".".join(map(str, first["loc"]))
    raise ApiError(422, f"{location or 'the body'}: {first['msg']}")


class _StrictJSONProvider(DefaultJSONProvider):
    sort_keys = False

    def loads(self, s: str | bytes, **options: Any) -> Any:
        return parse_json(s if isinstance(s, str) else s.decode("utf-8"))


class _RequestPlugin(FlaskPlugin):
    """Spectree's plugin, but invalid JSON is refused rather than read as {}, and responses are not validated."""

    def request_validation(self, request: Any, query: Any, json: Any, *others: Any) -> None:
        if json:
            try:
                body = request.get_json()
            except BadRequest as error:
                raise ApiError(400, f"not JSON: {error.__cause__ or error.description}") from None
            if not isinstance(body, dict):
                raise ApiError(422, "the body: expected an object with `inputs`")
        super().request_validation(request, query, json, *others)  # type: ignore[no-untyped-call]

    def validate_response(self, resp: Any, *_: Any) -> tuple[Any, None]:
        return resp, None
