"""What the server counts and times, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from accel_clf.serving.service import Service

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")  # a client may make up any number of others
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServerMetrics:
    """Counters of one application.

    Args:
        service: whose queue is shown.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._responses = Counter(
            "accel_clf_responses", "Answers, each counted once.", ["method", "path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "accel_clf_seconds", "From a request's start to its answer's first byte.", ["path"], buckets=SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._texts = Counter("accel_clf_texts", "Texts that were taken.", registry=self._registry)
        self._tokens = Counter("accel_clf_tokens", "Tokens of these texts.", registry=self._registry)
        in_flight = Gauge("accel_clf_requests_in_work", "Requests taken and not answered.", registry=self._registry)
        in_flight.set_function(lambda: service.in_flight)
        queued = Gauge("accel_clf_tokens_queued", "Tokens that wait for the model.", registry=self._registry)
        queued.set_function(lambda: service.batcher.queued)
        ready = Gauge("accel_clf_ready", "1 if requests are welcome.", registry=self._registry)
        ready.set_function(lambda: service.ready)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._responses.labels(method if method in METHODS else "other", path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def read(self, texts: int, tokens: int) -> None:
        """Count what a request has brought."""
        self._texts.inc(texts)
        self._tokens.inc(tokens)

    def as_text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self._registry)
