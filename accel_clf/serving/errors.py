"""Why a request is not answered, and how that is said."""

from flask import Response, g, json

from accel_clf.core.errors import DataError


class TooLongError(Exception):
    """A text has more tokens than the model takes.

    Args:
        place: of the text among those of the request.
        tokens: it has.
        most: it may have.
    """

    def __init__(self, place: int, tokens: int, most: int) -> None:
        super().__init__(f"inputs[{place}] has {tokens} tokens; the model takes {most}")


class NotFiniteError(Exception):
    """The model has answered with infinity, or with no number at all."""


class OverloadedError(Exception):
    """As much waits as may wait: come again later."""


class RequestTimeoutError(Exception):
    """Not answered in the time that the request had."""


class ClientDisconnectedError(Exception):
    """Whoever asked does not wait any more."""


class ShuttingDownError(Exception):
    """Nothing is answered here any more."""


GONE = 499  # nginx's status for a client that has left


# Statuses and their kinds are those of Hugging Face's text-embeddings-inference, where it has one.
KINDS = {413: "Validation", 422: "Validation", 429: "Overloaded", 500: "Backend", 503: "Unhealthy"}


class ApiError(Exception):
    """A request that is not answered, and why."""

    def __init__(self, status: int, why: str, kind: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.kind = status, why, kind or KINDS.get(status, "Validation")
        self.headers = headers or {}


def error_response(status: int, why: str, kind: str = "", headers: dict[str, str] | None = None) -> Response:
    """An answer that says why there is none."""
    told = {"error": why, "error_type": kind or KINDS.get(status, "Validation"), "request_id": g.id}
    return Response(json.dumps(told), status, headers, mimetype="application/json")


def data_problem(error: DataError) -> str:
    return f"{error.got}; expected: {error.expected}" if error.expected else error.got
