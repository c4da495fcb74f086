"""A run, pushed to the Hub: one commit with all of it, or none. An interrupted push goes on from where it was.

Large files are uploaded before the commit, and are not uploaded twice. A commit whose answer is lost may have been
made: the repository is then looked at again, and if it is as it should be, nothing more is done.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from accel_clf import __version__
from accel_clf.core import hub_errors
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.reports.hub.package import MANIFEST, Content, Digests, Files, read_manifest, size_of

WAITS = (1, 2, 4, 8, 16, 30, 30)  # seconds before each further try
LISTED = 5


class Pushed(NamedTuple):
    """What a repository holds after a push.

    Attributes:
        address: of the repository.
        commit: its newest.
        is_new: whether that was made by this push; False where everything was there already.
        is_private: whether others cannot see it.
    """

    address: str
    commit: str
    is_new: bool
    is_private: bool


@dataclass(frozen=True)
class Plan:
    """What a commit has to change.

    Attributes:
        add: paths of files that are new or different.
        delete: paths of files that a former push has written, and this one does not.
        foreign: those among both that are not as a push has left them: somebody's own.
    """

    add: list[str]
    delete: list[str]
    foreign: list[str]


def plan(local: Mapping[str, Digests], remote: Mapping[str, Digests], former: Mapping[str, Digests]) -> Plan:
    """Compare what a repository should hold with what it holds.

    Args:
        local: path -> digests, of what is pushed.
        remote: of what is there; one of the two digests may be empty.
        former: of what the last push has written.
    """

    def is_same(path: str, digests: Digests) -> bool:
        there = remote[path]
        return there.sha256 == digests.sha256 if there.sha256 else there.git == digests.git

    add = [path for path, digests in local.items() if path not in remote or not is_same(path, digests)]
    delete = [path for path in former if path in remote and path not in local]
    touched = [path for path in (*add, *delete) if path in remote and path != MANIFEST]
    foreign = [path for path in touched if path not in former or not is_same(path, former[path])]
    return Plan(add, delete, foreign)


def check_name(repo_id: str) -> None:
    """Check the name of a repository.

    Raises:
        ConfigError: it is none that the Hub could have.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    expected = "OWNER/NAME, of letters, digits, - _ and ."
    if repo_id.count("/") != 1:
        raise ConfigError(f"repository {repo_id!r}", expected, "your user name or organization on the Hub, then a name")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(f"repository {repo_id!r}", expected, str(error).splitlines()[0]) from None


def push(
    files: Files, repo_id: str, *, public: bool, overwrite: bool, wait: Callable[[float], None] = time.sleep
) -> Pushed:
    """Push files to a model repository, which is made if it is not there.

    Args:
        files: path there -> a file here, or bytes.
        repo_id: OWNER/NAME.
        public: whether everybody may see it.
        overwrite: whether files that no push has written may be replaced.
        wait: sleeps between two tries.

    Raises:
        UserError: the Hub refuses, or does not answer.
    """
    from huggingface_hub import get_token

    if hub_errors.is_offline():
        raise ConfigError(
            "push, and HF_HUB_OFFLINE is set", "the network", "unset HF_HUB_OFFLINE, or use --dry_run FOLDER"
        )
    if not get_token():
        raise ConfigError(
            "no access token of the Hub",
            "one that may write (https://huggingface.co/settings/tokens)",
            "`hf auth login`, or set HF_TOKEN",
        )
    push_once = _Push(files, repo_id, public, overwrite)
    waits = iter(WAITS)
    while True:
        try:
            return push_once()
        except UserError:
            raise
        except Exception as error:
            delay = next(waits, None) if hub_errors.is_transient(error) else None
            if delay is None:
                raise hub_errors.explain_push(error, repo_id) from error
            log(f"{hub_errors.describe(error)}; trying again in {delay} s")
            wait(delay)


class _Push:
    """A push, which may be tried several times; see `push` for the arguments."""

    def __init__(self, files: Files, repo_id: str, public: bool, overwrite: bool) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

        if not sys.stderr.isatty():  # a log file has the lines that are logged
            disable_progress_bars()
        self.api = HfApi(library_name="accel_clf", library_version=__version__)
        self.files, self.repo_id, self.public, self.overwrite = files, repo_id, public, overwrite
        self.digests = {path: Digests.of(content) for path, content in files.items()}
        self.has_sent = False  # a commit, whatever has become of it

    def __call__(self) -> Pushed:
        """Look at the repository, and do what is left to do."""
        info = self._repository()
        remote = {file.rfilename: _digests_of(file) for file in info.siblings or ()}
        changes = plan(self.digests, remote, self._former(info.sha) if MANIFEST in remote else {})
        if changes.foreign and not self.overwrite:
            names = ", ".join(changes.foreign[:LISTED]) + (" ..." if len(changes.foreign) > LISTED else "")
            raise ConfigError(
                f"{self.repo_id} holds what no push of accel-clf has left there like that: {names}",
                "a new repository, or one whose files come from `accel-clf push`",
                "look at these files; --overwrite replaces them, and the history of the repository keeps them",
            )
        commit = self._commit(changes, info.sha) if changes.add or changes.delete else info.sha
        return Pushed(f"{self.api.endpoint}/{self.repo_id}", str(commit), self.has_sent, bool(info.private))

    def _commit(self, changes: Plan, parent: str | None) -> str:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        adding = {path: self.files[path] for path in changes.add}
        log(f"{len(adding)} of {len(self.files)} files to push, {size_of(adding) / 1e6:.1f} MB")
        self.has_sent = True
        commit = self.api.create_commit(
            self.repo_id,
            [
                *(CommitOperationAdd(path, _for_upload(content)) for path, content in adding.items()),
                *(CommitOperationDelete(path) for path in changes.delete),
            ],
            commit_message=f"A model by accel_clf {__version__}",
            parent_commit=parent,  # if somebody else commits meanwhile, this one fails, and all is looked at again
        )
        return str(commit.oid)

    def _repository(self) -> Any:
        """Look the repository up, and make it if it is not there.

        Raises:
            ConfigError: others may see it, or not see it, unlike what was asked for.
        """
        info = self._info()
        if info is None:
            self.api.create_repo(self.repo_id, private=not self.public, exist_ok=True)
            info = self.api.model_info(self.repo_id, files_metadata=True)
        if info.private and self.public:
            raise ConfigError(
                f"--public, and {self.repo_id} is private",
                "a repository that is public already, or a new one",
                "make it public in its settings on the Hub, or leave --public out",
            )
        if not info.private and not self.public:
            raise ConfigError(
                f"{self.repo_id} is public", "--public, where everybody may see the model", "--public, or another name"
            )
        return info

    def _info(self) -> Any:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self.api.model_info(self.repo_id, files_metadata=True)
        except RepositoryNotFoundError:
            return None

    def _former(self, revision: str) -> dict[str, Digests]:
        """Read what the last push has written."""
        with tempfile.TemporaryDirectory() as folder:
            path = self.api.hf_hub_download(self.repo_id, MANIFEST, revision=revision, local_dir=folder)
            return read_manifest(Path(path).read_text(encoding="utf-8", errors="replace"))


def _for_upload(content: Content) -> str | bytes:
    return content if isinstance(content, bytes) else str(content)


def _digests_of(file: Any) -> Digests:
    return Digests(git=file.blob_id or "", sha256=file.lfs.sha256 if file.lfs else "")
