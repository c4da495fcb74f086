"""`accel-clf serve`: the application under waitress, which shuts down without losing a request that it has accepted."""

import json
import logging
import os
import select
import signal
import socket
import time
import uuid
from pathlib import Path
from types import FrameType
from typing import Any

from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from accel_clf.config.serve_schema import ServeConfig
from accel_clf.core.console import log
from accel_clf.core.errors import UserError
from accel_clf.core.exit_codes import DONE, FAILED
from accel_clf.serving import cors
from accel_clf.serving.app import create_app
from accel_clf.serving.middleware import MEGABYTE
from accel_clf.serving.service import Service
from accel_clf.targets.label_names import listed

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]", "::1")

# Threads and file descriptors
RESERVED_THREADS = 32  # for health checks, rejections and file streams while all other threads wait for the model
RESERVED_FILES = 128  # file descriptors for everything but connections
CONNECTIONS_PER_THREAD = 16
DEFAULT_CONNECTION_LIMIT = 400  # where the system does not report its limit on file descriptors

# The event loop
BUSY_THRESHOLD = 4  # requests in flight; above it, connections are polled together at intervals
POLL_INTERVAL = 0.005  # seconds between two polls, each of which costs some time per connection

# Connections, in seconds
CHANNEL_TIMEOUT = 120
LINGER_SECONDS = 5.0  # for which the rest of a request that is too large is read after it has been refused

# Shutdown, in seconds
IDLE_SECONDS = 0.3  # after which a connection without a request is not expected to send one
PARTIAL_REQUEST_SECONDS = 2.0  # after which a connection with a partial request is not expected to complete it
CLOSE_SECONDS = 5.0  # for the model to stop when no request waits for it
FAILED_MODEL_GRACE = 1.0  # for connections to finish when the model has failed


def serve(run: Path, settings: ServeConfig) -> int:
    """Serve a run until SIGTERM or SIGINT, or until the model fails.

    Args:
        run: the run folder.
        settings: the server's settings.

    Returns:
        The exit code.

    Raises:
        UserError: the address cannot be listened on.
    """
    if not settings.names and settings.host in LOOPBACK_HOSTS:
        # Against DNS rebinding: a page of another site must not reach this server under its own domain name.
        settings = settings.model_copy(update={"names": LOOPBACK_HOSTS})
    app = create_app(run, settings)
    service: Service = app.extensions["accel_clf"]
    max_threads = settings.queue + RESERVED_THREADS
    sockets: dict[int, Any] = {}
    try:
        create_server(
            app,
            map=sockets,
            host=settings.host,
            port=settings.port,
            _dispatcher=_Dispatcher(max_threads),
            ident=None,
            max_request_body_size=int((settings.max_file_megabytes + 1) * MEGABYTE),
            channel_request_lookahead=1,  # to notice when a client disconnects or closes its side
            connection_limit=_connection_limit(max_threads),
            channel_timeout=CHANNEL_TIMEOUT,
        )
    except (OSError, ValueError) as error:  # ValueError: the host name cannot be resolved
        raise UserError(
            f"cannot listen on {settings.host}:{settings.port} ({getattr(error, 'strerror', None) or error})",
            "an address of this machine, and a free port",
            "--port 0 picks a free port",
        ) from None
    servers = [server for server in sockets.values() if isinstance(server, BaseWSGIServer)]
    for server in servers:
        server.channel_class, server.service, server.metrics = _Channel, service, app.extensions["accel_clf_metrics"]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("accel_clf.serving").setLevel(logging.INFO)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of threads that have yet to be started
    signals = _record_signals(servers)
    addresses = " and ".join(f"http://{_format_address(server)}" for server in servers)
    target = service.target
    log(f"{service.model_name} in {service.precision} on {service.device}, {target.describe()}: {listed(target.names)}")
    print(f"listening on {addresses}", flush=True)
    while not signals and service.is_alive:
        wasyncore.loop(timeout=1.0, use_poll=True, map=sockets, count=1)
        if service.in_flight > BUSY_THRESHOLD:
            time.sleep(POLL_INTERVAL)
    if signals:
        return _shut_down(servers, sockets, service, settings.grace)
    log("the model has failed; the reason is above")
    _shut_down(servers, sockets, service, FAILED_MODEL_GRACE)
    return FAILED


def _shut_down(servers: list[BaseWSGIServer], sockets: dict[int, Any], service: Service, grace: float) -> int:
    """Refuse new connections, finish those that are open, then stop the model; return the exit code."""
    deadline = time.monotonic() + grace
    service.drain()
    log(f"shutting down: no more connections; {service.in_flight} requests in flight")
    for server in servers:
        # The system has completed the handshake of connections in the backlog: accept them, up to the limit.
        while server.readable() and select.select([server.socket], [], [], 0)[0] and time.monotonic() < deadline:
            server.handle_accept()
        server.del_channel(sockets)
        server.socket.close()
    while busy := [
        channel for channel in sockets.values() if isinstance(channel, _Channel) and not channel.is_idle(time.time())
    ]:
        if time.monotonic() > deadline:
            log(f"{len(busy)} connections were not finished within {grace:g} s")
            return FAILED
        wasyncore.loop(timeout=0.1, use_poll=True, map=sockets, count=1)
    return DONE if service.close(CLOSE_SECONDS) else FAILED


def _connection_limit(threads: int) -> int:
    """Return how many connections may be open, after raising this process's limit on file descriptors for them."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return DEFAULT_CONNECTION_LIMIT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = CONNECTIONS_PER_THREAD * threads
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(16, files - RESERVED_FILES)


def _format_address(server: BaseWSGIServer) -> str:
    host = f"[{server.effective_host}]" if ":" in server.effective_host else server.effective_host
    return f"{host}:{server.effective_port}"


def _record_signals(servers: list[BaseWSGIServer]) -> list[int]:
    """Install handlers: the first signal is appended to the list that is returned, the second ends the process."""
    signals: list[int] = []

    def record(signum: int, frame: FrameType | None) -> None:
        if signals:
            os._exit(FAILED)
        signals.append(signum)
        for server in servers:
            server.pull_trigger()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, record)
    return signals


class _Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Request threads, started on demand: a thread that has served a request keeps some memory for good.

    Args:
        max_threads: number of threads at most.
    """

    def __init__(self, max_threads: int) -> None:
        super().__init__()
        self.max_threads = max_threads

    def add_task(self, task: Any) -> None:
        with self.lock:
            all_busy = len(self.threads) - self.active_count <= len(self.queue)
        if all_busy and len(self.threads) < self.max_threads:
            self.set_thread_count(len(self.threads) + 1)
        super().add_task(task)


class _RequestTask(WSGITask):  # type: ignore[misc]
    """A request for the application; the last one of its connection once the server is shutting down."""

    def start(self) -> None:
        super().start()
        if self.channel.server.service.is_draining or not self.channel.server.service.is_alive:
            self.set_close_on_finish()


class _MalformedRequestTask(ErrorTask):  # type: ignore[misc]
    """A request that waitress itself refuses: the error is JSON and is counted, as the application's errors are."""

    def execute(self) -> None:
        error, service = self.request.error, self.channel.server.service
        body = {"error": f"{error.reason}: {error.body}", "error_type": "Validation", "request_id": uuid.uuid4().hex}
        content = json.dumps(body).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-ID", body["request_id"]),
            *cors.response_headers(self.request.headers.get("ORIGIN", ""), service.settings.origins).items(),
        ]
        self.set_close_on_finish()
        self.content_length = len(content)
        self.channel.lingers_on_close = error.code in (413, 431)
        method = getattr(self.request, "command", None) or "none"
        self.channel.server.metrics.count_response(method, "none", error.code, 0.0)
        self.write(content)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection.

    When its request is too large, it lingers: the rest of the request is read for a while and dropped. If it were
    closed at once, the system would send a reset, which overtakes the response that gives the reason. A connection
    whose client does not read the response is closed after the channel timeout, even if the response is incomplete.
    """

    task_class, error_task_class = _RequestTask, _MalformedRequestTask
    lingers_on_close = False
    linger_deadline = 0.0  # by time.time(); 0 while it does not linger

    def handle_close(self) -> None:
        if self.lingers_on_close and not self.linger_deadline:
            self.linger_deadline, self.will_close = time.time() + LINGER_SECONDS, False
            self.socket.shutdown(socket.SHUT_WR)
        else:
            super().handle_close()

    def readable(self) -> bool:
        now = time.time()
        is_stalled = self.total_outbufs_len and now - self.last_activity > self.adj.channel_timeout
        if is_stalled or (self.linger_deadline and now > self.linger_deadline):
            self.handle_close()
            return False
        return bool(self.linger_deadline or super().readable())

    def writable(self) -> bool:
        return not self.linger_deadline and bool(super().writable())

    def handle_read(self) -> None:
        if self.linger_deadline:
            self.recv(self.adj.recv_bytes)  # at the end of the stream, this closes the channel
        else:
            super().handle_read()

    def is_idle(self, now: float) -> bool:
        """Whether every request of this connection is answered and no further one is expected."""
        silence = now - max(self.last_activity, self.creation_time)
        is_answered = not self.requests and not self.total_outbufs_len
        patience = PARTIAL_REQUEST_SECONDS if self.request else IDLE_SECONDS
        return bool(self.linger_deadline) or (is_answered and silence > patience)
