"""The reasons for not answering a request, and the error responses that report them."""

from collections.abc import Mapping

from flask import Response, g, json

from accel_clf.core.errors import DataError, UserError
from accel_clf.inference.failures import Failure

CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that has disconnected

# Statuses and their error types follow Hugging Face's text-embeddings-inference where it defines one.
ERROR_TYPES = {413: "Validation", 422: "Validation", 429: "Overloaded", 500: "Backend", 503: "Unhealthy"}


class ApiError(Exception):
    """A request that is refused with a status and a message.

    Args:
        status: the HTTP status.
        message: the reason.
        error_type: the response's `error_type`; by default derived from the status.
        headers: additional response headers.
    """

    def __init__(self, status: int, message: str, error_type: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.error_type = status, message, error_type
        self.headers = headers or {}


class TooLongError(Exception):
    """A text has more tokens than the model accepts.

    Args:
        index: the text's index in the request.
        tokens: the text's number of tokens.
        max_tokens: the model's limit.
    """

    def __init__(self, index: int, tokens: int, max_tokens: int) -> None:
        super().__init__(f"inputs[{index}] has {tokens} tokens; the model accepts at most {max_tokens}")


class FailedTextsError(Exception):
    """The model fails on texts of a request.

    Args:
        failures: why, by the texts' indices in the request.
        location: of the one text that the client has sent, or of the first one's row; None for indices in `inputs`.

    Attributes:
        failures, location: as passed.
        first: the index of the first of them.
        status: the HTTP status.
    """

    def __init__(self, failures: Mapping[int, Failure], location: str | None = None) -> None:
        index, first = min(failures.items())
        others = len(failures) - 1
        more = f"; so it does on {others} more of these texts" if others and location is None else ""
        super().__init__(f"{location or f'inputs[{index}]'}: the model fails on this text ({first.reason}){more}")
        self.failures, self.first, self.location = failures, index, location
        self.status = 422 if first.is_of_text else 500


class WorkerDiedError(UserError):
    """The model's process has ended.

    Args:
        reason: how, as what follows "the model process".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model process {reason}")
        self.reason = reason


class OverloadedError(Exception):
    """The limit on requests in flight or on queued tokens is reached; the client should retry later."""


class RequestTimeoutError(Exception):
    """The request was not answered within its timeout."""


class ClientDisconnectedError(Exception):
    """The client has disconnected before it was answered."""


class ShuttingDownError(Exception):
    """The server is shutting down, or its model has failed."""


def error_response(status: int, message: str, error_type: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return the JSON response that reports an error.

    Args:
        status: the HTTP status.
        message: the reason.
        error_type: the body's `error_type`; by default derived from the status.
        headers: additional response headers.
    """
    body = {
        "error": message,
        "error_type": error_type or ERROR_TYPES.get(status, "Validation"),
        "request_id": g.id,
    }
    return Response(json.dumps(body), status, headers, mimetype="application/json")


def format_data_error(error: DataError) -> str:
    """Return a data error as one line: the actual and the expected input."""
    return f"{error.got}; expected: {error.expected}" if error.expected else error.got
