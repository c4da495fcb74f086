"""A run's report on this machine alone, rendered again when the run has gone on."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.reports.html.evidence import read_evidence
from accel_clf.reports.html.report import render_report

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # that a request may call the server: no other site's page can read it by a name of its own


class LiveReport:
    """The report of a run, rendered again when its files have changed.

    Args:
        run: the folder.
        with_texts: whether to show texts of rows.
    """

    def __init__(self, run: Path, *, with_texts: bool) -> None:
        self.run, self.with_texts = run, with_texts
        self._lock, self._state, self._page = Lock(), "", b""

    def page(self) -> bytes:
        """Return the page as the folder is now."""
        with self._lock:
            state = self._files()
            if state != self._state:
                self._page = render_report(self.run, with_texts=self.with_texts, reloads=True).encode()
                self._state = state
            return self._page

    def _files(self) -> str:
        folders = (self.run, *sorted(self.run.glob("fold-*")))
        paths = [folder / name for folder in folders for name in ("metrics.json", "metrics.jsonl")]
        return repr([(path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None for path in paths])


def make_server(report: LiveReport, port: int) -> ThreadingHTTPServer:
    """Make the server of a report: it answers GET / and HEAD /, and nothing else.

    Args:
        report: what it shows.
        port: 0 for any that is free.

    Raises:
        ConfigError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
            if name not in NAMES:
                self.send_error(403, "this server is for this machine alone")
            elif self.path != "/":
                self.send_error(404, "the report is at /")
            else:
                try:
                    self._answer(report.page())
                except UserError as error:  # such as a folder that has gone
                    self.send_error(503, "no report", str(error))

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, page: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Log nothing: there is one user, who sees the page."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise ConfigError(f"port {port}: {error.strerror}", "a free port", "--port 8002, or 0 for any") from None


def serve_report(run: Path, port: int, *, with_texts: bool) -> None:
    """Show a run's report until Ctrl+C.

    Raises:
        ConfigError: the folder is no run's, or the port is taken.
    """
    read_evidence(run, with_texts=False)
    with make_server(LiveReport(run, with_texts=with_texts), port) as server:
        log(f"the report of {run} is at http://{HOST}:{server.server_port}/ (Ctrl+C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log("")
