"""Cross-origin requests: the headers by which browsers let pages of other sites use the server."""

from collections.abc import Sequence

ANY = "*"
# What such pages may send and read beside what they always may.
REQUEST_HEADERS = "Authorization, Content-Type, X-Request-ID"
RESPONSE_HEADERS = (
    "Content-Disposition, Retry-After, Server-Timing, WWW-Authenticate, X-Request-ID, X-Rows, X-Truncated, X-Warning"
)
METHODS = "GET, POST"
MAX_AGE = 600  # seconds for which a browser need not ask again


def is_allowed(origin: str, origins: Sequence[str]) -> bool:
    """Return whether pages of an origin may use the server."""
    return ANY in origins or origin in origins


def response_headers(origin: str, origins: Sequence[str]) -> dict[str, str]:
    """Return the headers of a response to any request.

    Args:
        origin: the request's header; "" where it has none.
        origins: whose pages may use the server.
    """
    if not origins:
        return {}
    # A response to one origin must not be taken from a cache for another.
    vary = {} if ANY in origins else {"Vary": "Origin"}
    if not origin or not is_allowed(origin, origins):
        return vary
    allowed = ANY if ANY in origins else origin
    return {"Access-Control-Allow-Origin": allowed, "Access-Control-Expose-Headers": RESPONSE_HEADERS, **vary}


def preflight_headers() -> dict[str, str]:
    """Return what the response to a browser's question whether it may send a request has besides."""
    return {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": REQUEST_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE),
    }
