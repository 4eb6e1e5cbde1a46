"""Blob storage on 127.0.0.1, as much of it as Azure ML's SDK asks for: blobs are files below a folder."""

import base64
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tunebridge.testing.wire import Refusal, Request, Response, Route

CONTAINER = "azureml-blobstore"
CONTAINERS = rf"(?:{CONTAINER}|code-[0-9a-f-]+)"
"""The workspace's container, and one for each upload of code."""
META = "x-ms-meta-"


class Storage:
    """Containers as folders; a job's machine sees them as if they were mounted. Names here begin with the container."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for part in ("blobs", "metadata", "blocks"):
            (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def routes(self) -> list[Route]:
        """Return the routes of containers and their blobs."""
        blob = f"/(?P<name>{CONTAINERS}/.+)"
        return [
            Route("GET", f"/(?P<name>{CONTAINERS})", self._list),
            Route("PUT", blob, self._put),
            Route("GET", blob, self._get),
            Route("HEAD", blob, self._head),
            Route("DELETE", blob, self._delete),
        ]

    def path(self, name: str) -> Path:
        """Return the file or folder of a name; a name that leads out of them all is refused."""
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise Refusal(error(400, "InvalidUri", "The requested URI does not represent any resource."))
        return self._folder / "blobs" / name

    def _put(self, request: Request) -> Response:
        name, part = request.arguments["name"], request.query.get("comp")
        target = self.path(name)
        if part == "metadata":
            self._existing(name)
            self._keep_metadata(name, request)
            return Response(status=200, headers=_stamps())
        if part == "block":
            block = self._block(name, request.query["blockid"])
            block.parent.mkdir(parents=True, exist_ok=True)
            block.write_bytes(request.body)
            return Response(status=201, headers=_stamps())
        if request.headers.get("if-none-match") == "*" and target.exists():
            raise Refusal(error(409, "BlobAlreadyExists", "The specified blob already exists."))
        if part != "blocklist" and request.headers.get("x-ms-blob-type") != "BlockBlob":
            raise Refusal(error(400, "InvalidHeaderValue", "x-ms-blob-type must be BlockBlob."))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(self._blocks(name, request)) if part == "blocklist" else request.body)
        self._keep_metadata(name, request)
        return Response(status=201, headers=_stamps())

    def _get(self, request: Request) -> Response:
        content = self._existing(request.arguments["name"]).read_bytes()
        asked = request.headers.get("x-ms-range") or request.headers.get("range")
        headers = {**_stamps(), **self._metadata(request.arguments["name"]), "x-ms-blob-type": "BlockBlob"}
        if asked is None:
            return Response(content, headers=headers, content_type="application/octet-stream")
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        start = int(found[1]) if found else 0
        if not found or start >= len(content):
            raise Refusal(error(416, "InvalidRange", "The range specified is invalid."))
        part = content[start : int(found[2]) + 1 if found[2] else None]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        return Response(part, status=206, headers=headers, content_type="application/octet-stream")

    def _head(self, request: Request) -> Response:
        name = request.arguments["name"]
        size = self._existing(name).stat().st_size
        headers = {**_stamps(), **self._metadata(name), "Content-Length": str(size), "x-ms-blob-type": "BlockBlob"}
        return Response(status=200, headers=headers, content_type="application/octet-stream")

    def _delete(self, request: Request) -> Response:
        self._existing(request.arguments["name"]).unlink()
        self._metadata_file(request.arguments["name"]).unlink(missing_ok=True)
        return Response(status=202, headers=_stamps())

    def _list(self, request: Request) -> Response:
        prefix, container = request.query.get("prefix", ""), request.arguments["name"]
        root = self.path(container)
        found = sorted(path for path in root.rglob("*") if path.is_file())
        names = [(path.relative_to(root).as_posix(), path.stat().st_size) for path in found]
        blobs = "".join(_listed(name, size) for name, size in names if name.startswith(prefix))
        text = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}">'
        body = f"{text}<Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
        return Response(body.encode(), headers=_stamps(), content_type="application/xml")

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_file():
            raise Refusal(error(404, "BlobNotFound", "The specified blob does not exist."))
        return path

    def _block(self, name: str, identifier: str) -> Path:
        return self._folder / "blocks" / _hidden(name) / _hidden(identifier)

    def _blocks(self, name: str, request: Request) -> Iterator[bytes]:
        for element in ElementTree.fromstring(request.body):
            yield self._block(name, element.text or "").read_bytes()
        shutil.rmtree(self._folder / "blocks" / _hidden(name), ignore_errors=True)

    def _metadata_file(self, name: str) -> Path:
        return self._folder / "metadata" / f"{_hidden(name)}.json"

    def _metadata(self, name: str) -> Mapping[str, str]:
        path = self._metadata_file(name)
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def _keep_metadata(self, name: str, request: Request) -> None:
        said = {key: value for key, value in request.headers.items() if key.startswith(META)}
        self._metadata_file(name).write_text(json.dumps(said))


def error(status: int, code: str, message: str) -> Response:
    """Return an error as the storage service words it."""
    text = f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(text.encode(), status=status, headers={"x-ms-error-code": code}, content_type="application/xml")


def _stamps() -> dict[str, str]:
    return {"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True), "x-ms-version": "2024-11-04"}


def _listed(name: str, size: int) -> str:
    properties = f"<Content-Length>{size}</Content-Length><BlobType>BlockBlob</BlobType><Etag>0x1</Etag>"
    return f"<Blob><Name>{escape(name)}</Name><Properties>{properties}</Properties></Blob>"


def _hidden(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")[-200:]
