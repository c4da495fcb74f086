"""A stand-in for the Hub's HTTP API on loopback, for the libraries' real code: repositories, large files, commits.

It keeps what the Hub keeps to: a commit is whole or is not there, names large files that were uploaded only, and fails
where its parent is not the newest. It can drop connections at places of a test's choice: before anything is done, in
the middle of an upload, or after all was done and before the answer.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_0123456789secretsecretsecretsecret"
OWNER = "me"  # whose token that is
ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"  # what a new repository has
LARGE = 10 << 20
# What the Hub's refusals quote.
ID = r"^(?:[\w-]+\/)?[\w.-]+$"
_YAML_BLOCK = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(content: bytes) -> bytes:
    """What git has in a large file's place."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    files: Mapping[str, bytes]
    large: frozenset[str] = frozenset()


@dataclass
class Repository:
    private: bool
    commits: list[Commit]

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit.oid == revision), None)

    def add(self, title: str, files: Mapping[str, bytes], large: frozenset[str] = frozenset()) -> Commit:
        content = repr((len(self.commits), title, sorted((path, git_digest(data)) for path, data in files.items())))
        commit = Commit(hashlib.sha1(content.encode()).hexdigest(), title, dict(files), large)
        self.commits.append(commit)
        return commit


@dataclass
class Hub:
    """Its state.

    Attributes:
        repositories: by id.
        blobs: large files that were uploaded, by SHA-256.
        drops: place -> how many connections to drop there, yet.
        dropped: the places where connections were dropped, in order.
        requests: how many there were of each place, those dropped included.
        bytes_received: of large files, those of dropped uploads included.
    """

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    drops: Counter[str] = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    bytes_received: int = 0
    stall_at: int | None = None  # after so many large files, uploads stop halfway
    stalled: threading.Event = field(default_factory=threading.Event)  # set when one has
    resume: threading.Event = field(default_factory=threading.Event)  # ends the waiting
    uploads: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, repo_id: str, private: bool = True, files: Mapping[str, bytes] | None = None) -> Repository:
        repository = Repository(private, [])
        repository.add("initial commit", {".gitattributes": ATTRIBUTES, **(files or {})})
        self.repositories[repo_id] = repository
        return repository

    def files(self, repo_id: str) -> dict[str, bytes]:
        """What a repository holds, without what it was made with."""
        files = dict(self.repositories[repo_id].commits[-1].files)
        del files[".gitattributes"]
        return files


class _DroppedError(Exception):
    """A connection that ends without an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _answer(self, status: int, content: Any = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content if content is not None else {}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _place(self, name: str) -> None:
        """Count a request, or what is done of it; end it if it is to be dropped here."""
        with self.hub.lock:
            self.hub.requests[name] += 1
            if self.hub.drops[name]:
                self.hub.drops[name] -= 1
                self.hub.dropped.append(name)
                raise _DroppedError

    def _handle(self) -> None:
        try:
            self._route()
        except _DroppedError:
            self.close_connection = True
            with suppress(OSError):  # a reset, not an orderly end
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _route(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path.startswith("/large/"):  # a signed address, which takes no token
            return self._upload(path.removeprefix("/large/"))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._body()
            return self._answer(401, {"error": "Invalid username or password."})
        routes = [
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._validate),
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            (r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self._preupload),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ]
        for pattern, route in routes:
            if match := re.fullmatch(pattern, path):
                return route(*(part and unquote(part) for part in match.groups()))
        self._body()
        self._answer(404, {"error": f"no such route: {path} {sorted(query)}"})

    def _repository(self, repo_id: str) -> Repository | None:
        repository = self.hub.repositories.get(repo_id)
        if repository is None:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return repository

    def _create(self) -> None:
        request = json.loads(self._body())
        self._place("create")
        owner, repo_id = request["organization"], f"{request['organization']}/{request['name']}"
        if owner != OWNER:
            return self._answer(403, {"error": f"You don't have the rights to create a model under {owner}"})
        with self.hub.lock:
            exists = repo_id in self.hub.repositories
            if not exists:
                self.hub.create(repo_id, request.get("visibility") == "private")
        self._place("create, done")
        url = {"url": f"{self.hub.endpoint}/{repo_id}"}
        self._answer(409 if exists else 200, url | ({"error": "You already created this model repo"} if exists else {}))

    def _validate(self) -> None:
        request = json.loads(self._body())
        self._place("validate")
        errors = metadata_errors(request["content"])
        content = {"errors": [{"message": message} for message in errors], "warnings": []}
        self._answer(400 if errors else 200, content)

    def _entry(self, path: str, commit: Commit) -> dict[str, Any]:
        content = commit.files[path]
        if path not in commit.large:
            return {"size": len(content), "oid": git_digest(content)}
        large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return {"size": len(content), "oid": git_digest(pointer(content)), "lfs": large}

    def _info(self, repo_id: str, revision: str | None) -> None:
        self._body()
        self._place("info")
        if (repository := self._repository(repo_id)) is None:
            return
        commit = repository.at(revision or "main")
        if commit is None:
            return self._answer(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        siblings = []
        for path in commit.files:
            entry = self._entry(path, commit)
            entry["blobId"] = entry.pop("oid")
            siblings.append({"rfilename": path, **entry})
        self._answer(200, {"id": repo_id, "sha": commit.oid, "private": repository.private, "siblings": siblings})

    def _tree(self, repo_id: str, revision: str) -> None:
        if (repository := self._repository(repo_id)) is None:
            return
        commit = repository.at(revision)
        assert commit is not None
        entries = []
        for path in commit.files:
            entry = {"type": "file", "path": path, **self._entry(path, commit)}
            if "lfs" in entry:
                entry["lfs"]["oid"] = entry["lfs"].pop("sha256")
            entries.append(entry)
        self._answer(200, entries)

    def _preupload(self, repo_id: str, revision: str) -> None:
        request = json.loads(self._body())
        self._place("preupload")
        if (repository := self._repository(repo_id)) is None:
            return
        files = []
        for file in request["files"]:
            is_large = file["path"].endswith(".safetensors") or file["size"] > LARGE
            entry = {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            newest = repository.commits[-1]
            if file["path"] in newest.files:
                there = self._entry(file["path"], newest)
                entry["oid"] = there["lfs"]["sha256"] if "lfs" in there else there["oid"]
            files.append(entry)
        self._answer(200, {"files": files})

    def _batch(self, repo_id: str) -> None:
        request = json.loads(self._body())
        self._place("batch")
        objects = []
        for item in request["objects"]:
            upload = {"upload": {"href": f"{self.hub.endpoint}/large/{item['oid']}"}}
            objects.append({**item, **({} if item["oid"] in self.hub.blobs else {"actions": upload})})
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _upload(self, oid: str) -> None:
        size = int(self.headers["Content-Length"])
        content = self.rfile.read(size // 2)
        self.hub.bytes_received += len(content)
        with self.hub.lock:
            self.hub.uploads += 1
            stalls = self.hub.stall_at is not None and self.hub.uploads > self.hub.stall_at
        if stalls:
            self.hub.stalled.set()
            self.hub.resume.wait()  # until the client is dead: what it has sent is thrown away
            raise _DroppedError
        self._place("large file, half")
        rest = self.rfile.read(size - len(content))
        self.hub.bytes_received += len(rest)
        if hashlib.sha256(content + rest).hexdigest() != oid:
            return self._answer(400, {"error": "not the digest"})
        self.hub.blobs[oid] = content + rest
        self._place("large file, done")
        self._answer(200)

    def _commit(self, repo_id: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        self._place("commit")
        with self.hub.lock:
            if (repository := self._repository(repo_id)) is None:
                return
            newest, header = repository.commits[-1], lines[0]["value"]
            if header.get("parentCommit", newest.oid) != newest.oid:
                return self._answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            files, large = dict(newest.files), set(newest.large)
            for line in lines[1:]:
                value = line["value"]
                large.discard(value["path"])
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    if value["oid"] not in self.hub.blobs:
                        return self._answer(400, {"error": f"{value['path']} was not uploaded"})
                    files[value["path"]] = self.hub.blobs[value["oid"]]
                    large.add(value["path"])
                else:
                    assert line["key"] == "deletedFile"
                    del files[value["path"]]
            commit = repository.add(header["summary"], files, frozenset(large))
        self._place("commit, done")
        address = f"{self.hub.endpoint}/{repo_id}/commit/{commit.oid}"
        self._answer(200, {"success": True, "commitOid": commit.oid, "commitUrl": address})

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        self._place("resolve")
        if (repository := self._repository(repo_id)) is None:
            return
        commit = repository.at(revision)
        if commit is None or path not in commit.files:
            return self._answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        entry, content = self._entry(path, commit), commit.files[path]
        headers = {"X_Repo_Commit": commit.oid, "ETag": f'"{entry["oid"]}"'}
        if "lfs" in entry:
            headers |= {"X_Linked_Etag": f'"{entry["lfs"]["sha256"]}"', "X_Linked_Size": str(len(content))}
        self._answer(200, content, **headers)


def metadata_errors(card: str) -> list[str]:
    """Check a card's metadata as the Hub's validator does, as far as its documentation and its refusals tell."""
    match = _YAML_BLOCK.match(card)
    if match is None:
        return ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"yaml: {error}"]
    errors = []

    def require(condition: bool, message: str) -> None:
        if not condition:
            errors.append(message)

    def is_id(value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(ID, value, re.ASCII) is not None

    require(isinstance(data.get("license"), str), '"license" must be a string')
    for language in data.get("language", ()):
        require(re.fullmatch(r"[a-z]{2,3}|code|multilingual", language) is not None, f'"language" is {language}')
    require(is_id(data.get("base_model", "a/b")), f'"base_model" with value {data.get("base_model")!r} is not valid')
    for dataset in data.get("datasets", ()):
        require(is_id(dataset), f'"datasets[0]" with value {dataset!r} is not valid')
    for name in ("tags", "metrics"):
        require(all(isinstance(value, str) for value in data.get(name, ())), f'"{name}" must be strings')
    for model in data.get("model-index", ()):
        require(bool(model.get("name")), '"model-index[0].name" is required')
        for result in model["results"]:
            require(bool(result["task"].get("type")), "task.type is required")
            require(bool(result["dataset"].get("name")), "dataset.name is required")
            kind = result["dataset"].get("type")
            require(is_id(kind), f"dataset.type with value {kind!r} fails to match the required pattern: /{ID}/")
            require(bool(result["metrics"]), "metrics must not be empty")
            for metric in result["metrics"]:
                require(bool(metric.get("type")), "metric.type is required")
                value = metric.get("value")
                require(isinstance(value, int | float) and value == value, f"metric.value is {value!r}")
    return errors


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Run a stand-in while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
