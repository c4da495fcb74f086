"""`accel-clf serve`: the application under waitress, which is told to end without losing what it has taken."""

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

from accel_clf.config.schema import ServeConfig
from accel_clf.core.console import log
from accel_clf.core.errors import UserError
from accel_clf.core.exit_codes import DONE, FAILED
from accel_clf.serving.app import create_app
from accel_clf.serving.middleware import MEGABYTE
from accel_clf.serving.service import Service

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]", "::1")
RESERVED_THREADS = 32  # threads that say how it is, refuse, and stream files, when all others wait for the model
CLOSING = 5.0  # seconds for the thread that computes to end, when nobody waits for it
IDLE_SECONDS = (
    0.3  # seconds after which a connection that has asked for nothing is not expected to, when the server ends
)
HALF_REQUEST_SECONDS = 2.0  # the same for one that has asked for half of something
BUSY_THRESHOLD = 4  # requests in work; with more, connections are looked at together now and then
POLL_INTERVAL = 0.005  # seconds between two looks, of which each costs some time for every connection
OTHER_FILES = 128  # that this process may have open besides its connections
LINGER = 5.0  # seconds for which a request that is too large is read after it has been refused


class _Task(WSGITask):  # type: ignore[misc]
    """A request for the application; the connection's last, once the server is ending."""

    def start(self) -> None:
        super().start()
        if not self.channel.server.service.ready:
            self.set_close_on_finish()


class _Unreadable(ErrorTask):  # type: ignore[misc]
    """A request that waitress itself refuses: answered in JSON, and counted, as all others are."""

    def execute(self) -> None:
        error = self.request.error
        body = {"error": f"{error.reason}: {error.body}", "error_type": "Validation", "request_id": uuid.uuid4().hex}
        content = json.dumps(body).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-ID", body["request_id"]),
        ]
        self.set_close_on_finish()
        self.content_length = len(content)
        self.channel.sends_too_much = error.code in (413, 431)
        self.channel.server.observed.answered(getattr(self.request, "command", None) or "none", "none", error.code, 0.0)
        self.write(content)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection.

    One that is closed because it sends too much is read for a while, and what comes is dropped: to close it at once
    would make the system answer with a reset, which overtakes the answer that says why. One whose client does not read
    its answer is closed in the end, whether or not there is more to say.
    """

    task_class, error_task_class = _Task, _Unreadable
    sends_too_much = False
    lingers_until = 0.0

    def handle_close(self) -> None:
        if self.sends_too_much and not self.lingers_until:
            self.lingers_until, self.will_close = time.time() + LINGER, False
            self.socket.shutdown(socket.SHUT_WR)
        else:
            super().handle_close()

    def readable(self) -> bool:
        now = time.time()
        unread = self.total_outbufs_len and now - self.last_activity > self.adj.channel_timeout
        if unread or (self.lingers_until and now > self.lingers_until):
            self.handle_close()
            return False
        return bool(self.lingers_until or super().readable())

    def writable(self) -> bool:
        return not self.lingers_until and bool(super().writable())

    def handle_read(self) -> None:
        if self.lingers_until:
            self.recv(self.adj.recv_bytes)  # which closes at the end
        else:
            super().handle_read()

    def is_idle(self, now: float) -> bool:
        """Whether nothing has been asked here that is not answered, nor is about to be."""
        silent = now - max(self.last_activity, self.creation_time)
        answered = not self.requests and not self.total_outbufs_len
        return bool(self.lingers_until) or (
            answered and silent > (HALF_REQUEST_SECONDS if self.request else IDLE_SECONDS)
        )


class _Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Threads for requests, started as they are needed: each that has worked once keeps some memory for good.

    Args:
        most: threads.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def add_task(self, task: Any) -> None:
        with self.lock:
            all_busy = len(self.threads) - self.active_count <= len(self.queue)
        if all_busy and len(self.threads) < self.most:
            self.set_thread_count(len(self.threads) + 1)
        super().add_task(task)


def serve(run: Path, settings: ServeConfig) -> int:
    """Answer until told to end, by SIGTERM or SIGINT, or until the model fails; the exit code.

    Raises:
        UserError: the address cannot be listened on.
    """
    if not settings.names and settings.host in LOOPBACK_HOSTS:
        # So that no page of another site can reach this server by a name of its own.
        settings = settings.model_copy(update={"names": LOOPBACK_HOSTS})
    app = create_app(run, settings)
    service: Service = app.extensions["accel_clf"]
    sockets: dict[int, Any] = {}
    try:
        create_server(
            app,
            map=sockets,
            host=settings.host,
            port=settings.port,
            _dispatcher=_Dispatcher(settings.queue + RESERVED_THREADS),
            ident=None,
            max_request_body_size=int((settings.max_file_megabytes + 1) * MEGABYTE),
            channel_request_lookahead=1,  # to notice that a client has left, or has closed its side
            connection_limit=_connections(settings.queue + RESERVED_THREADS),
            channel_timeout=120,
        )
    except (OSError, ValueError) as error:  # the latter for a name that nobody knows
        raise UserError(
            f"cannot listen on {settings.host}:{settings.port} ({getattr(error, 'strerror', None) or error})",
            "an address of this machine, and a port that nobody has",
            "--port 0 takes any that is free",
        ) from None
    servers = [server for server in sockets.values() if isinstance(server, BaseWSGIServer)]
    for server in servers:
        server.channel_class, server.service, server.observed = _Channel, service, app.extensions["accel_clf_observed"]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("accel_clf.serving").setLevel(logging.INFO)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each thread that is not there yet
    asked = _note_signals(servers)
    addresses = " and ".join(f"http://{_address(server)}" for server in servers)
    log(f"{service.model_name} by {service.precision} on {service.device}, labels {', '.join(service.labels)}")
    print(f"listening on {addresses}", flush=True)
    while not asked and service.alive:
        wasyncore.loop(timeout=1.0, use_poll=True, map=sockets, count=1)
        if service.in_flight > BUSY_THRESHOLD:
            time.sleep(POLL_INTERVAL)
    if asked:
        return _end(servers, sockets, service, settings.grace)
    log("the model has failed; why is told above")
    _end(servers, sockets, service, 1.0)
    return FAILED


def _connections(threads: int) -> int:
    """As many as the system lets this process have, besides what else it has open."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return 400
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16 * threads if hard == resource.RLIM_INFINITY else min(16 * threads, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(16, wanted - OTHER_FILES)


def _address(server: BaseWSGIServer) -> str:
    host = f"[{server.effective_host}]" if ":" in server.effective_host else server.effective_host
    return f"{host}:{server.effective_port}"


def _note_signals(servers: list[BaseWSGIServer]) -> list[int]:
    """From here on the first signal is noted in what is returned, the second ends the process."""
    asked: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if asked:
            os._exit(FAILED)
        asked.append(signum)
        for server in servers:
            server.pull_trigger()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return asked


def _end(servers: list[BaseWSGIServer], sockets: dict[int, Any], service: Service, grace: float) -> int:
    """Take no more connections, answer on those that are there, then close; the exit code."""
    until = time.monotonic() + grace
    service.drain()
    log(f"ending: no more connections; {service.in_flight} requests in work")
    for server in servers:
        # Connections that the system has taken already, as far as there may be so many.
        while server.readable() and select.select([server.socket], [], [], 0)[0] and time.monotonic() < until:
            server.handle_accept()
        server.del_channel(sockets)
        server.socket.close()
    while busy := [one for one in sockets.values() if isinstance(one, _Channel) and not one.is_idle(time.time())]:
        if time.monotonic() > until:
            log(f"{len(busy)} connections were not done within {grace:g} s")
            return FAILED
        wasyncore.loop(timeout=0.1, use_poll=True, map=sockets, count=1)
    return DONE if service.close(CLOSING) else FAILED
