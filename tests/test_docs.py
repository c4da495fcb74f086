"""README, docs/ and CONTRIBUTING are true: their commands, code, names, tables and links.

`python -m tests.test_docs` (make settings) writes the tables of settings into docs/settings.md.

Commands and code run as they stand, but for one thing: distilbert-base-uncased, which is on the Hub, is replaced by a
tiny encoder in a local folder. The files that they name (reviews.csv ...) are those of `workplace`.
"""

import ast
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import accel_clf
from accel_clf.cli.main import COMMANDS, main
from accel_clf.config.flags import SHORT_FLAGS, settings_table
from accel_clf.config.schema import SECTIONS, Config, settings
from accel_clf.config.serve_schema import ServeConfig
from accel_clf.models import kernel_selection
from accel_clf.strategies.xla.detect import CHIPS
from tests import forked
from tests.conftest import REPOSITORY, make_bert, read_csv, write_csv

README, CONTRIBUTING = REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
SETTINGS, ARCHITECTURE, MODELS, PYTHON = (
    REPOSITORY / "docs" / f"{name}.md" for name in ("settings", "architecture", "models", "python")
)
PAGES = [README, CONTRIBUTING, *DOCS]
TABLE = re.compile(r"(<!-- (settings|serving): .*? -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
TABLES = {"settings": Config, "serving": ServeConfig}
HUB_MODEL = "distilbert-base-uncased"
BY_NAME = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def with_tables(text: str) -> str:
    return TABLE.sub(lambda match: f"{match[1]}\n{settings_table(TABLES[match[2]])}\n\n{match[3]}", text)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in a page's shell blocks; those that `&&` or `|` join are separate ones."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars="&|")
            words.whitespace_split = True
            command: list[str] = []
            for word in [*words, "&&"]:
                if word in ("&&", "|"):
                    yield command
                    command = []
                else:
                    command.append(word)


def our_commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each `accel-clf` in a page's shell blocks."""
    for command in commands(page):
        if command and command[0].removeprefix(".venv-xla/bin/") == "accel-clf":
            yield command[1:]


def code_spans(page: Path) -> set[str]:
    return set(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", page.read_text()))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """Stands for HUB_MODEL: as tiny_bert, but with as many positions."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return make_bert(tmp_path_factory.mktemp("encoder"), reviews, 512, **shape)


@pytest.fixture
def workplace(tmp_path: Path, reviews: Path) -> Path:
    """A folder with the files that commands and code name."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    stars = {"negative": "1", "positive": "5"}
    rows = [(row["text"], stars[row["label"]]) for row in read_csv(reviews)]
    columns = ("body", "stars", "rating", "author", "lang")
    table = [
        (text, label, label, f"author {number % 50}", ("en", "de")[number % 2])
        for number, (text, label) in enumerate(rows)
    ]
    write_csv(folder / "reviews.csv", table, columns)
    write_csv(folder / "new_reviews.csv", table[:100], columns)
    write_csv(folder / "unlabelled.csv", [(text,) for text, _ in rows[:10]], ("body",))
    (folder / "texts.txt").write_text("what a film\nwhat a bore\n")
    return folder


def test_every_setting_is_listed() -> None:
    text = SETTINGS.read_text()
    assert with_tables(text) == text, "run `make settings`"
    assert all(f"| `{name}` |" in text for model in TABLES.values() for name, _ in settings(model))
    short = re.findall(r"^\| `--(\w+)`.* \| `([\w.]+)` \|$", text, re.MULTILINE)
    assert dict(short) == {name: setting for name, (setting, _) in SHORT_FLAGS.items()}


def test_every_command_is_listed() -> None:
    assert {f"accel-clf {name}" for name in COMMANDS} <= code_spans(REPOSITORY / "docs" / "index.md")


@BY_NAME
def test_commands_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of accel-clf with their flags, wherever they are named; the launcher's with files; make's targets."""
    text = page.read_text()
    assert set(re.findall(r"\baccel-clf +([a-z]\w*)", text)) <= set(COMMANDS)
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"^make ([\w-]+)|`make ([\w-]+)`", text, re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }
    for name, *args in our_commands(page):
        check_flags(name, args, capsys)
    for command in commands(page):
        if command[:2] == ["accelerate", "launch"]:
            files = [word for word in command if word.endswith((".yaml", ".py")) and word != "CONFIG.yaml"]
            assert len(files) == 2
            assert all((REPOSITORY / file).is_file() for file in files)
        elif command[:2] == ["python", "-m"]:
            assert (REPOSITORY / command[2].replace(".", "/")).with_suffix(".py").is_file()


def check_flags(command: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert not ended.value.code
    known = set(re.findall(r"--[\w.]+", capsys.readouterr().out))
    assert {word for word in args if word.startswith("--")} <= known, f"accel-clf {command}"


@BY_NAME
def test_names_in_code_spans_exist(page: Path) -> None:
    """Of settings, of modules and what is in them, of files."""
    names = {name for model in TABLES.values() for name, _ in settings(model)} | set(SECTIONS)
    packages = [path.name for path in (REPOSITORY / "accel_clf").iterdir() if path.is_dir()]
    sources = sorted((REPOSITORY / "accel_clf").rglob("*.py"))
    for span in code_spans(page):
        if re.fullmatch(rf"(accel_clf/|{'|'.join(f'{name}/' for name in packages)})[\w/]+\.py", span):
            assert (REPOSITORY / "accel_clf" / span.removeprefix("accel_clf/")).is_file(), span
        elif re.fullmatch(r"(tests|configs|accelerate_configs|examples|benchmarks)/[\w/.]+", span):
            assert (REPOSITORY / span).exists(), span
        elif re.fullmatch(rf"({'|'.join(packages)})(\.\w+)+", span) and span not in names | {
            "config.yaml",
            "config.json",
        }:
            assert_defined(span)
        elif re.fullmatch(r"[A-Z][a-z]+[A-Z]\w+\.\w+", span):
            class_name = span.partition(".")[0]
            files = [path for path in sources if f"class {class_name}(" in path.read_text()]
            module = ".".join(files[0].relative_to(REPOSITORY / "accel_clf").with_suffix("").parts)
            assert_defined(f"{module}.{span}")


def assert_defined(name: str) -> None:
    """A dotted name of a module, or of a class, function or method in one."""
    path, parts = REPOSITORY / "accel_clf", name.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    if parts:
        path = path / f"{parts.pop(0)}.py"
    assert path.exists(), name
    scope: ast.AST = ast.parse(path.read_text()) if parts else ast.Module([], [])
    for part in parts:
        nodes = [node for node in ast.walk(scope) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        matches = [node for node in nodes if node.name == part]
        assert matches, f"{name}: no {part}"
        scope = matches[0]


def test_lengths() -> None:
    assert len(README.read_text().split()) <= 1500
    assert len(CONTRIBUTING.read_text().split()) <= 700


def test_packages_are_those_of_the_package() -> None:
    line = re.compile(r"^(\w+) {2,}(\S.*)$", re.MULTILINE)
    [listed] = blocks(ARCHITECTURE, "text")
    assert line.findall(listed) == line.findall((accel_clf.__doc__ or "").partition("Packages, in the order")[2])


def test_kernels_are_those_of_the_code() -> None:
    """The first column of the table of kernels."""
    row = re.compile(r"^\| (`\w+`.*?) \|", re.MULTILINE)
    in_code = row.findall(kernel_selection.__doc__ or "")
    assert len(in_code) >= 4
    assert in_code == row.findall(MODELS.read_text().partition("## Kernels")[2].partition("## Precision")[0])


def test_devices_of_tpus_are_those_of_the_code() -> None:
    """In the table of TPUs: the devices of a chip of that generation, times the chips."""
    devices = {name: chip.devices for chip in CHIPS.values() for name in chip.generation.split(" or ")}
    rows = re.findall(
        r"^\| (v\d.*?) \| (\d+) \| (\d+) \|", (REPOSITORY / "docs" / "hardware.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 4
    for names, chips, expected in rows:
        for generation in re.findall(r"\b(v\d[ep]?)-", names):
            assert int(chips) * devices[generation] == int(expected), names


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, list):
            for item in entry:
                yield from pages(item)
        elif isinstance(entry, dict):
            yield from pages(list(entry.values()))

    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    assert sorted(pages(config["nav"])) == [page.name for page in DOCS]


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Those that mkdocs does not check."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]+)#?([^)]*)\)", page.read_text()):
        path = REPOSITORY / target
        assert path.is_file(), target
        if path.suffix != ".md":
            continue
        headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}
        assert not anchor or anchor in slugs, f"{target}#{anchor}"


def test_extras_exist() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    extras = set(re.findall(r"^(\w+) = \[", pyproject.partition("\n[project.scripts]")[0], re.MULTILINE))
    named = {extra for page in PAGES for extra in re.findall(r"\.\[(\w+)\]'", page.read_text())}
    assert "serve" in named <= extras


@pytest.mark.parametrize("name", ["README.md", "docs/run-folder.md", "docs/cross-validation.md", "docs/compare.md"])
def test_commands_run(name: str, encoder: Path, workplace: Path, tmp_path: Path) -> None:
    """In the order in which they stand; of `serve` only the flags are checked, elsewhere."""
    training = next(our_commands(README))
    assert training[0] == "train"
    lines = [] if name == "README.md" else [training]  # a run that is finished is not trained again
    lines += [args for args in our_commands(REPOSITORY / name) if args[0] != "serve" and "CONFIG.yaml" not in args]
    for args in lines:
        local = [str(encoder) if word == HUB_MODEL else word for word in args]
        stdin = (workplace / "texts.txt").read_bytes()
        done = forked.run_forked(forked.command(local, os.chdir, workplace), tmp_path, stdin=stdin)
        assert done.returncode == 0, f"{args}: {done.stderr}"
        if args[0] == "predict" and "--output" not in args:
            texts = [word for word in args[2:] if not word.startswith("--")]
            assert len(done.stdout.splitlines()) == (len(texts) or 2)  # lines of texts.txt
    assert HUB_MODEL in training


def test_python_runs(
    encoder: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """README's block, then those of docs/python.md, one after another."""
    monkeypatch.chdir(workplace)
    names: dict[str, object] = {}
    code = [*blocks(README, "python"), *blocks(PYTHON, "python")]
    assert len(code) >= 6
    for block in code:
        exec(compile(block.replace(HUB_MODEL, str(encoder)), "a block of the documentation", "exec"), names)
    printed = capsys.readouterr().out
    assert "unknown setting trainig" in printed
    assert "'scores'" in printed


if __name__ == "__main__":
    SETTINGS.write_text(with_tables(SETTINGS.read_text()))
