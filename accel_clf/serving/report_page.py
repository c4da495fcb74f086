"""The run's report, where its folder has one."""

from pathlib import Path

from flask import Flask, Response, g, send_file

from accel_clf.reports.html.report import FILE
from accel_clf.serving.errors import ApiError

# The report is a page of its own: it runs its own script, in an origin of its own, and asks this server for nothing.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
)


def register_report_route(app: Flask, run: Path) -> None:
    """Register /report, which answers with the report that the user has made, and the page's link to it.

    Args:
        app: the application.
        run: the folder of the run or the cross-validation.
    """
    path = run.resolve() / FILE

    @app.context_processor
    def tell_page() -> dict[str, bool]:
        return {"has_report": path.is_file()}

    @app.get("/report")
    def report() -> Response:
        if not path.is_file():
            raise ApiError(404, "this run has no report yet: `accel-clf report RUN` writes one into its folder")
        g.content_policy = POLICY
        return send_file(path, mimetype="text/html")
