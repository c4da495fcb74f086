"""The server's metrics in Prometheus' format."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from accel_clf.serving.service import Service

# Methods with a label value of their own. All others share one, since clients can invent any number of methods.
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds


class ServerMetrics:
    """The metrics of one application.

    Args:
        service: the service, whose queue, readiness and failures are reported.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._responses = Counter(
            "accel_clf_responses", "Responses by method, route and status.", ["method", "path", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "accel_clf_seconds", "Time from the start of a request to the first byte of its response.", ["path"],
            buckets=LATENCY_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._texts = Counter("accel_clf_texts", "Texts accepted.", registry=self._registry)
        self._tokens = Counter("accel_clf_tokens", "Tokens of the texts accepted.", registry=self._registry)
        self._abstained = Counter(
            "accel_clf_abstained", "Texts that got no label at the server's risk.", registry=self._registry
        )
        in_flight = Gauge("accel_clf_requests_in_work", "Requests in flight.", registry=self._registry)
        in_flight.set_function(lambda: service.in_flight)
        queued_tokens = Gauge("accel_clf_tokens_queued", "Tokens waiting for the model.", registry=self._registry)
        queued_tokens.set_function(lambda: service.batcher.queued_tokens)
        ready = Gauge("accel_clf_ready", "1 if new requests should be sent to this server.", registry=self._registry)
        ready.set_function(lambda: service.is_ready)
        self._registry.register(_Failures(service))

    def count_response(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a response and observe its latency.

        Args:
            method: the request's method.
            path: the route's path, or "none".
            status: the response's status.
            seconds: the time from the start of the request to the response.
        """
        self._responses.labels(method if method in METHODS else "other", path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def count_texts(self, texts: int, tokens: int) -> None:
        """Count the texts that a request has brought, and their tokens."""
        self._texts.inc(texts)
        self._tokens.inc(tokens)

    def count_abstained(self, texts: int) -> None:
        """Count the texts of a request that got no label, which grow more where texts are not those of training."""
        self._abstained.inc(texts)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Failures:
    """What has failed so far, as the service counts it.

    Args:
        service: the service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metrics."""
        yield CounterMetricFamily(
            "accel_clf_failed_texts", "Texts that the model has failed on.", self._service.failed_texts
        )
        yield CounterMetricFamily(
            "accel_clf_worker_restarts", "Times that the model's process has been replaced.",
            self._service.worker_restarts,
        )  # fmt: skip
