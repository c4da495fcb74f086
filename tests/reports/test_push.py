"""`accel-clf push` to a stand-in for the Hub, by huggingface_hub as it is: whole or not at all, whatever is cut off.

Its endpoint is read when it is imported, so that each push is a new interpreter's.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import accel_clf
from accel_clf.cli.main import main
from accel_clf.core.exit_codes import DONE, FAILED, USAGE
from accel_clf.reports.hub.package import Digests, read_manifest, write_package
from accel_clf.reports.hub.push import Plan, plan, push
from tests.cross_validation.conftest import make_settings
from tests.hub_standin import TOKEN, Hub, git_digest, serving_hub
from tests.serving.harness import serving

TEXT = "the soup was never dull"
LICENSE = ("--license", "mit")
FIVE_PLACES = ("create, done", "preupload", "batch", "large file, half", "commit, done")
# Runs several commands in one interpreter: [arguments, variables] -> [exit code, standard output, standard error].
COMMANDS = """
import contextlib, io, json, os, sys
from accel_clf.cli.main import main
results = []
for args, variables in json.load(sys.stdin):
    os.environ.update(variables)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(args)
    results.append([code, out.getvalue(), err.getvalue()])
json.dump(results, sys.stdout)
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def cv(tiny_xlmr: Path, translations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = make_settings(tiny_xlmr, translations, tmp_path_factory.mktemp("cv") / "cv", folds=2)
    settings["training"]["epochs"] = 1
    return accel_clf.cross_validate(settings).path


def environment(hub: Hub, home: Path, **variables: str) -> dict[str, str]:
    """The user's variables: nothing but the endpoint and the token is the stand-in's, which has no Xet storage."""
    inherited = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    ours = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    return {**inherited, **ours, **variables}


def pushes(hub: Hub, home: Path, *commands: tuple[Any, ...], token: str = TOKEN) -> list[tuple[int, str, str]]:
    """Run `accel-clf push ...` several times; the exit code, standard output and standard error of each."""
    jobs = [[["push", *map(str, args)], {"HF_TOKEN": token}] for args in commands]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(hub, home),
    )
    assert done.returncode == 0, done.stderr
    results = [(code, out, err) for code, out, err in json.loads(done.stdout)]
    assert all("Traceback" not in err and TOKEN not in out + err for _, out, err in results)
    return results


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def dry_run(run: Path, name: str, folder: Path, *flags: Any) -> Path:
    assert main(["push", str(run), name, *map(str, flags), "--dry_run", str(folder)]) == DONE
    return folder


def test_five_dropped_connections(hub: Hub, run: Path, tmp_path: Path) -> None:
    """One of them after the commit was made. The repository is whole, and answers by the card's own code."""
    hub.drops.update(FIVE_PLACES)
    [(code, out, err)] = pushes(hub, tmp_path, (run, "me/reviews", *LICENSE, "--language", "en"))
    assert code == DONE, err
    assert hub.dropped == list(FIVE_PLACES)
    repository = hub.repositories["me/reviews"]
    assert [commit.title for commit in repository.commits] == [
        "initial commit",
        f"A model by accel_clf {accel_clf.__version__}",
    ]
    assert out == f"{hub.endpoint}/me/reviews (private)\ncommit {repository.commits[-1].oid}\n"
    assert repository.private
    expected = dry_run(run, "me/reviews", tmp_path / "dry", *LICENSE, "--language", "en")
    assert hub.files("me/reviews") == contents(expected)

    [code_here, code_there] = re.findall(r"```python\n(.*?)```", (expected / "README.md").read_text(), re.DOTALL)
    script = f"{code_here}{code_there}print(run.path)".replace("Text to classify.", TEXT)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, env=environment(hub, tmp_path)
    )
    assert done.returncode == 0, done.stderr
    by_pipeline, by_us, path = done.stdout.splitlines()
    snapshot = Path(path)
    assert contents(snapshot) == {**contents(expected), ".gitattributes": contents(snapshot)[".gitattributes"]}
    [answer] = accel_clf.load(run).predict(TEXT)
    assert f"'label': '{answer['label']}'" in by_pipeline
    assert f"'label': '{answer['label']}'" in by_us
    with serving(snapshot, tmp_path, "--precision", "fp32") as server:
        [items] = server.predict(TEXT).json
    assert {item["label"]: item["score"] for item in items} == pytest.approx(answer["scores"], abs=1e-5)


def test_killed_push_goes_on(hub: Hub, cv: Path, tmp_path: Path) -> None:
    """What was uploaded is not uploaded again, and before the end there is nothing."""
    command = [sys.executable, "-m", "accel_clf.cli", "push", str(cv), "me/folds", *LICENSE]
    hub.stall_at = 1
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment(hub, tmp_path), stdout=log, stderr=log)
    assert hub.stalled.wait(300), (tmp_path / "log").read_text()
    while not hub.blobs:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert hub.files("me/folds") == {}
    assert len(hub.blobs) == 1
    hub.stall_at = None
    hub.resume.set()
    before = hub.bytes_received
    [(code, _, err), (again, out, _)] = pushes(hub, tmp_path, *[(cv, "me/folds", *LICENSE)] * 2)
    assert code == again == DONE, err
    expected = dry_run(cv, "me/folds", tmp_path / "dry", *LICENSE)
    assert hub.files("me/folds") == contents(expected)
    assert hub.bytes_received - before == (cv / "fold-1" / "model" / "model.safetensors").stat().st_size
    assert len(hub.repositories["me/folds"].commits) == 2, "the second push had nothing to do"
    assert "which has all of it already" in out
    assert accel_clf.load(expected).predict(TEXT) == accel_clf.load(cv).predict(TEXT)


def test_what_others_have_made_is_not_lost(hub: Hub, run: Path, cv: Path, tmp_path: Path) -> None:
    """Files of a former push that are no more go; all others stay, unless --overwrite says so, or the names differ."""
    hub.create("me/model", files={"README.md": b"# by hand\n", "notes.txt": b"mine"})
    first = (run, "me/model", *LICENSE)
    [refused, pushed, other] = pushes(hub, tmp_path, first, (*first, "--overwrite"), (cv, "me/model", *LICENSE))
    assert refused[0] == USAGE
    assert "error: me/model holds what no push of accel-clf has left there like that: README.md" in refused[2]
    assert pushed[0] == other[0] == DONE
    expected = contents(dry_run(cv, "me/model", tmp_path / "dry", *LICENSE))
    assert hub.files("me/model") == {**expected, "notes.txt": b"mine"}, "the run's own files are gone"
    repository = hub.repositories["me/model"]
    edited = {**repository.commits[-1].files, "README.md": expected["README.md"] + b"edited on the Hub"}
    repository.add("edit", edited, repository.commits[-1].large)
    [refused, private, elsewhere] = pushes(
        hub, tmp_path, (cv, "me/model", *LICENSE), (cv, "me/model", *LICENSE, "--public"), (cv, "other/x", *LICENSE)
    )
    assert refused[0] == private[0] == elsewhere[0] == USAGE
    assert "left there like that: README.md" in refused[2]
    assert "--public, and me/model is private" in private[2]
    assert "this access token may not write there" in elsewhere[2]
    assert "other" not in hub.repositories
    assert repository.private
    assert repository.commits[-1].title == "edit"


def test_refusals(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.create("me/public", private=False)
    hub.drops.update(["create", "validate", "commit"])  # where huggingface_hub does not try again itself
    [public, dropped] = pushes(hub, tmp_path, (run, "me/public", *LICENSE), (run, "me/new", *LICENSE, "--public"))
    assert public[0] == USAGE
    assert "me/public is public" in public[2]
    assert dropped[0] == DONE
    assert "trying again in 1 s" in dropped[2]
    assert not hub.repositories["me/new"].private
    [invalid] = pushes(hub, tmp_path, (run, "me/new", *LICENSE), token="hf_another")
    assert invalid[0] == USAGE
    assert "the Hub refused the access token" in invalid[2]


def test_hub_that_is_down(run: Path, tmp_path: Path) -> None:
    without_waiting = "import accel_clf.reports.hub.push as push\npush.WAITS = (0, 0)\n"
    jobs = [[["push", str(run), "me/reviews", *LICENSE], {}]]
    done = subprocess.run(
        [sys.executable, "-c", without_waiting + COMMANDS],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(Hub(endpoint="http://127.0.0.1:9"), tmp_path),
    )
    [(code, _, err)] = json.loads(done.stdout)
    assert code == FAILED
    assert err.count("trying again in 0 s") == 2
    assert "the connection to the Hub was lost (ConnectError), again and again" in err
    assert "run the same command again" in err


@pytest.mark.parametrize(
    ("variables", "message"),
    [({"HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN}, "HF_HUB_OFFLINE is set"), ({"HF_HUB_OFFLINE": "0"}, "hf auth login")],
)
def test_nothing_to_push_by(
    variables: Mapping[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(accel_clf.ConfigError) as refusal:
        push({}, "me/x", public=False, overwrite=False)
    assert message in str(refusal.value)


def test_plan() -> None:
    def digests(**files: str) -> dict[str, Digests]:
        return {name: Digests(git=f"{content}-git", sha256=content) for name, content in files.items()}

    def there(**files: str) -> dict[str, Digests]:
        """Some files are in git, others large: the Hub tells one digest of each."""
        return {
            name: Digests(git="", sha256=content) if name.startswith("large") else Digests(f"{content}-git", "")
            for name, content in files.items()
        }

    local = digests(card="new", large="w2", same="s", fresh="f")
    former = digests(card="old", large="w1", same="s", gone="g", edited="e", absent="a")
    remote = there(card="old", large="w1", same="s", gone="g", edited="by hand", notes="mine")
    assert plan(local, remote, former) == Plan(["card", "large", "fresh"], ["gone", "edited"], ["edited"])
    assert plan(local, there(card="by hand"), former) == Plan(["card", "large", "same", "fresh"], [], ["card"])
    assert plan(local, there(card="new", large="w2", same="s", fresh="f"), {}) == Plan([], [], [])
    assert plan(local, there(large="w1"), {}).foreign == ["large"]


def test_digests_are_gits_and_the_hubs(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(content)
    assert Digests.of(tmp_path / "file") == Digests.of(content)
    assert Digests.of(content).git == git_digest(content)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": 1}', '{"files": {"a": 1}}', '{"files": {"a": {"git": 1}}}']
)
def test_manifest_of_somebody_else(text: str) -> None:
    assert read_manifest(text) == {}


def test_full_disk_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("accel_clf.reports.hub.package.shutil.copyfile", full)
    assert main(["push", str(run), "me/reviews", "--dry_run", str(tmp_path / "dry")]) == FAILED
    assert list(tmp_path.iterdir()) == []


def test_dry_run_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_package({"a/b": b"c"}, tmp_path / "empty")
    assert contents(tmp_path / "empty") == {"a/b": b"c"}
    with pytest.raises(accel_clf.ConfigError, match="not empty"):
        write_package({"x": b"y"}, tmp_path / "empty")
    assert contents(tmp_path) == {"empty/a/b": b"c"}
