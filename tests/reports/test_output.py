"""Pages are written over pages, and over nothing that somebody else has made."""

from pathlib import Path

import pytest

from accel_clf.cli.main import main
from accel_clf.config.load import load
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import DONE, USAGE
from accel_clf.reports.html.report import with_report, write_report
from accel_clf.reports.output import check_output
from tests.reports.folders import TARGETS, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("output") / "run", TARGETS["single_label"], 30)


def test_an_earlier_page_is_replaced(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    for _ in range(2):
        assert main(["report", str(run), "--output", str(path)]) == DONE
    (tmp_path / "empty.htm").touch()
    check_output(tmp_path / "empty.htm")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("command", ["report", "compare"])
@pytest.mark.parametrize("name", ["metrics.json", "notes.html", "folder.html", "page.txt", "notes.html/page.html"])
def test_anything_else_is_kept(
    command: str, name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    for kept in ("metrics.json", "notes.html"):
        (tmp_path / kept).write_text("<!doctype html> mine")
    before = sorted(tmp_path.iterdir())
    runs = [str(run)] if command == "report" else [str(run), str(run.parent)]
    assert main([command, *runs, "--output", str(tmp_path / name)]) == USAGE
    error = capsys.readouterr().err
    assert str(tmp_path / name) in error and "--debug" not in error
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "metrics.json").read_text() == (tmp_path / "notes.html").read_text() == "<!doctype html> mine"


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(ConfigError, match=r"page.html cannot be written \(Permission denied"):
        check_output(tmp_path / "new" / "page.html")


def test_it_is_found_out_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    config = load(None, {"report": True, "output": str(tmp_path)})
    with pytest.raises(ConfigError, match="no page that accel-clf has written"):
        with_report(config, lambda: pytest.fail("trained"))
    with pytest.raises(ConfigError, match="no page that accel-clf has written"):
        write_report(tmp_path)
