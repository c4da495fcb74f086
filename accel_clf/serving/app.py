"""A run as a web application: `create_app` makes one for any WSGI server."""

import os
from pathlib import Path
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from pydantic import ValidationError
from spectree import SecurityScheme, SpecTree
from spectree.models import SecureType, SecuritySchemeData
from spectree.plugins.flask_plugin import FlaskPlugin
from werkzeug.exceptions import BadRequest

from accel_clf import __version__
from accel_clf.config.schema import ServeConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.readers import parse_json
from accel_clf.serving.errors import ApiError
from accel_clf.serving.middleware import MEGABYTE, around_requests
from accel_clf.serving.prometheus import ServerMetrics
from accel_clf.serving.routes import answers, health, pages
from accel_clf.serving.schema import Problem
from accel_clf.serving.service import Service

KEY = "ACCEL_CLF_API_KEY"


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
                raise ApiError(400, f"not JSON: {error.__cause__ or error.description}") from None
            if not isinstance(found, dict):
                raise ApiError(422, "the body: expected an object with `inputs`")
        super().request_validation(request, query, json, *others)  # type: ignore[no-untyped-call]

    def validate_response(self, resp: Any, *_: Any) -> tuple[Any, None]:
        return resp, None


def create_app(run: str | Path, settings: ServeConfig | None = None) -> Flask:
    """The application that answers with a trained run, or with a cross-validation's models together.

    Args:
        run: the folder.
        settings: of the server; None for their defaults.

    Returns:
        The application, with its Service as `extensions["accel_clf"]`.

    Raises:
        ConfigError: see Service.
    """
    settings = settings or ServeConfig()
    service = Service(Path(run), settings)
    app = Flask(__name__)
    app.json = _StrictJSON(app)
    app.extensions["accel_clf"] = service
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_megabytes * MEGABYTE)
    observed = ServerMetrics(service)
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
    around_requests(app, service, observed, key)
    health(app, api, service, observed)
    answers(app, api, service, observed, {"key": []} if key else None)
    pages(app, api, service)
    with app.app_context():
        operation = api.spec["paths"]["/predict/file"]["post"]
    # Of the types that it takes, the one whose right contents a schema can tell; the description names the others.
    operation["requestBody"] = {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}
    return app


def _refuse_invalid(request: Any, response: Any, error: Exception | None, *_: Any) -> None:
    if not isinstance(error, ValidationError):
        return
    problems = error.errors()
    first, *others = problems
    if any(one["type"] == "too_short" for one in problems):
        raise ApiError(400, "inputs: no texts", "Empty")
    if others and first["loc"][0] == "inputs":  # neither of the two things that it may be
        wrong = next((f"[{part}]" for one in problems for part in one["loc"] if isinstance(part, int)), "")
        raise ApiError(422, f"inputs{wrong}: expected a text{'' if wrong else ' or a list of texts'}")
    place = ".".join(map(str, first["loc"]))
    raise ApiError(422, f"{place or 'the body'}: {first['msg']}")
