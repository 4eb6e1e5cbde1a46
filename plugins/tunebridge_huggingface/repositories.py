"""The emulator's repositories: files in a folder, commits, and the routes by which the SDK writes and reads them."""

import base64
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunebridge.testing.shelf import Shelf
from tunebridge.testing.wire import Refusal, Request, Response, Route

REPOSITORY = "(?P<owner>[^/]+)/(?P<name>[^/]+)"
KINDS = "(?P<kind>models|datasets)"


class Repositories:
    """Private repositories by kind and name; each keeps its last commit only."""

    def __init__(self, folder: Path, address: Callable[[], str]) -> None:
        self._shelf, self._folder, self._address = Shelf(folder, empty={"commits": {}}), folder, address

    def routes(self) -> list[Route]:
        """Return what the SDK asks of repositories."""
        api = f"/api/{KINDS}/{REPOSITORY}"
        return [
            Route("POST", "/api/repos/create", self._create),
            Route("DELETE", "/api/repos/delete", self._delete),
            Route("POST", f"{api}/preupload/(?P<revision>[^/]+)", self._preupload),
            Route("POST", f"{api}/commit/(?P<revision>[^/]+)", self._commit),
            Route("GET", f"{api}(?:/revision/(?P<revision>[^/]+))?", self._info),
            Route("HEAD", f"/{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._content),
            Route("GET", f"/{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._content),
        ]

    def folder(self, kind: str, name: str) -> Path:
        """Return where a repository's files lie, to be read only."""
        return self._folder / kind / name.replace("/", "--")

    def commit_of(self, kind: str, name: str) -> str | None:
        """Return a repository's commit, None where there is no such repository."""
        with self._shelf.opened() as state:
            found: str | None = state["commits"].get(f"{kind}/{name}")
            return found

    def _create(self, request: Request) -> Response:
        asked = request.json()
        kind = f"{asked.get('type') or 'model'}s"
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else f"emulator/{asked['name']}"
        if asked.get("visibility") != "private" and not asked.get("private"):
            raise Refusal(error(400, "this emulator makes private repositories only"))
        with self._shelf.opened() as state:
            if f"{kind}/{name}" in state["commits"]:
                return Response({"error": "You already created this repo", "url": self._url(kind, name)}, status=409)
            state["commits"][f"{kind}/{name}"] = secrets.token_hex(20)
        self.folder(kind, name).mkdir(mode=0o700, parents=True)
        return Response({"url": self._url(kind, name), "id": name, "name": name})

    def _delete(self, request: Request) -> Response:
        asked = request.json()
        kind, name = f"{asked.get('type') or 'model'}s", f"{asked['organization']}/{asked['name']}"
        self._known(kind, name)
        with self._shelf.opened() as state:
            del state["commits"][f"{kind}/{name}"]
        shutil.rmtree(self.folder(kind, name))
        return Response({})

    def _preupload(self, request: Request) -> Response:
        self._named(request)
        asked = request.json()["files"]
        return Response(
            {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]}
        )

    def _commit(self, request: Request) -> Response:
        kind, name, _ = self._named(request)
        for line in request.body.split(b"\n"):
            record: dict[str, Any] = json.loads(line) if line else {"key": "header"}
            if record["key"] == "file":
                self._write(self.folder(kind, name), record["value"])
            elif record["key"] != "header":
                raise Refusal(error(400, f"this emulator takes no {record['key']}"))
        commit = hashlib.sha1(request.body, usedforsecurity=False).hexdigest()
        with self._shelf.opened() as state:
            state["commits"][f"{kind}/{name}"] = commit
        return Response({"commitUrl": f"{self._url(kind, name)}/commit/{commit}", "commitOid": commit, "success": True})

    def _write(self, folder: Path, value: Mapping[str, Any]) -> None:
        path = (folder / value["path"]).resolve()
        if not path.is_relative_to(folder.resolve()) or value.get("encoding") != "base64":
            raise Refusal(error(400, "Invalid file in the commit"))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(value["content"]))

    def _info(self, request: Request) -> Response:
        kind, name, commit = self._named(request)
        folder = self.folder(kind, name)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        siblings = [{"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size} for path in files]
        return Response({"id": name, "sha": commit, "private": True, "siblings": siblings, "tags": [], "downloads": 0})

    def _content(self, request: Request) -> Response:
        name = f"{request.arguments['owner']}/{request.arguments['name']}"
        commit = self._known("models", name)
        if request.arguments["revision"] not in ("main", commit):
            raise Refusal(error(404, "Invalid rev id", "RevisionNotFound"))
        path = self.folder("models", name) / request.arguments["path"]
        if not path.is_file():
            raise Refusal(error(404, "Entry not found", "EntryNotFound"))
        content = path.read_bytes()
        tag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(content))}
        return Response(content, headers=headers, content_type="application/octet-stream")

    def _named(self, request: Request) -> tuple[str, str, str]:
        kind, name = request.arguments["kind"], f"{request.arguments['owner']}/{request.arguments['name']}"
        return kind, name, self._known(kind, name)

    def _known(self, kind: str, name: str) -> str:
        commit = self.commit_of(kind, name)
        if commit is None:
            raise Refusal(error(404, "Repository not found", "RepoNotFound"))
        return commit

    def _url(self, kind: str, name: str) -> str:
        return f"{self._address()}/{'datasets/' if kind == 'datasets' else ''}{name}"


def error(status: int, message: str, code: str | None = None, **headers: str) -> Response:
    """Return an error as the hub words it."""
    known = {"X-Error-Message": message, "X-Request-Id": "emulator", **({"X-Error-Code": code} if code else {})}
    return Response({"error": message}, status=status, headers={**known, **headers})
