"""The emulator's Cloud Storage: objects of any bucket in a folder, with the uploads that the SDK makes of them."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunebridge.testing.shelf import Shelf
from tunebridge.testing.wire import Refusal, Request, Response, Route
from tunebridge_vertexai.emulated import error

OBJECT = "/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>.+)"


class Storage:
    """Objects by their `gs://` address, readable by the owner of the folder only."""

    def __init__(self, folder: Path) -> None:
        self._shelf = Shelf(folder, empty={"uploads": {}})
        self._folder = folder

    def routes(self) -> list[Route]:
        """Return what the SDK asks of Cloud Storage."""
        return [
            Route("POST", "/upload/storage/v1/b/(?P<bucket>[^/]+)/o", self._begin_upload),
            Route("PUT", "/upload/storage/v1/b/(?P<bucket>[^/]+)/o", self._add_part),
            Route("GET", "/storage/v1/b/(?P<bucket>[^/]+)", self._bucket),
            Route("GET", "/storage/v1/b/(?P<bucket>[^/]+)/o", self._list),
            Route("GET", OBJECT, self._describe),
            Route("GET", f"/download{OBJECT}", self._content),
            Route("DELETE", OBJECT, self._delete),
        ]

    def write(self, uri: str, content: bytes) -> None:
        """Keep an object."""
        path = self._path(uri)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)

    def read(self, uri: str) -> bytes | None:
        """Return an object, None where there is none."""
        path = self._path(uri)
        return path.read_bytes() if path.is_file() else None

    def names(self, uri: str) -> Iterator[str]:
        """Yield the addresses of the objects that begin with an address, sorted."""
        bucket = self._folder / uri.removeprefix("gs://").partition("/")[0]
        found = (path.relative_to(self._folder).as_posix() for path in bucket.rglob("*") if path.is_file())
        yield from sorted(f"gs://{name}" for name in found if f"gs://{name}".startswith(uri))

    def _path(self, uri: str) -> Path:
        """Return an object's file: a bucket is a folder here, so that a machine can have it mounted."""
        path = (self._folder / uri.removeprefix("gs://")).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise Refusal(error(400, "Invalid object name"))
        return path

    def _begin_upload(self, request: Request) -> Response:
        if request.query.get("uploadType") == "resumable":
            upload = secrets.token_hex(8)
            with self._shelf.opened() as state:
                state["uploads"][upload] = _uri(request, request.json()["name"])
            self.write(_partial(upload), b"")
            address = f"http://{request.headers['host']}{request.path}?uploadType=resumable&upload_id={upload}"
            return Response({}, headers={"Location": address, "X-GUploader-UploadID": upload})
        described, content = _related(request)
        return self._kept(_uri(request, described["name"]), content, described.get("crc32c"))

    def _add_part(self, request: Request) -> Response:
        """Take one part of a resumable upload; 308 asks for the next."""
        upload = request.query["upload_id"]
        with self._shelf.opened() as state:
            uri = state["uploads"].get(upload)
        if uri is None:
            raise Refusal(error(404, "no such upload"))
        content = (self.read(_partial(upload)) or b"") + request.body
        total = request.headers["content-range"].rsplit("/", 1)[1]
        if total == "*" or len(content) < int(total):
            self.write(_partial(upload), content)
            return Response({}, status=308, headers={"Range": f"bytes=0-{len(content) - 1}"})
        self._path(_partial(upload)).unlink()
        return self._kept(uri, content, None)

    def _kept(self, uri: str, content: bytes, crc32c: str | None) -> Response:
        if crc32c is not None and crc32c != checksum(content):
            raise Refusal(error(400, "Provided CRC32C does not match the content"))
        self.write(uri, content)
        return Response(_resource(uri, content))

    def _bucket(self, request: Request) -> Response:
        name = request.arguments["bucket"]
        return Response({"kind": "storage#bucket", "id": name, "name": name, "location": "US", "projectNumber": "1"})

    def _list(self, request: Request) -> Response:
        prefix = _uri(request, request.query.get("prefix", ""))
        items = [_resource(uri, self.read(uri) or b"") for uri in self.names(prefix)]
        return Response({"kind": "storage#objects", "items": items})

    def _describe(self, request: Request) -> Response:
        return Response(_resource(*self._found(request)))

    def _content(self, request: Request) -> Response:
        _, content = self._found(request)
        headers = {"X-Goog-Hash": f"crc32c={checksum(content)}", "X-Goog-Generation": "1"}
        return Response(content, headers=headers, content_type="application/octet-stream")

    def _delete(self, request: Request) -> Response:
        uri, _ = self._found(request)
        self._path(uri).unlink()
        return Response(None, status=204)

    def _found(self, request: Request) -> tuple[str, bytes]:
        uri = _uri(request, request.arguments["name"])
        content = self.read(uri)
        if content is None:
            raise Refusal(error(404, f"No such object: {uri}"))
        return uri, content


def checksum(content: bytes) -> str:
    """Return the CRC32C as Cloud Storage writes it."""
    import google_crc32c

    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def _uri(request: Request, name: str) -> str:
    return f"gs://{request.arguments['bucket']}/{name}"


def _partial(upload: str) -> str:
    return f"gs://.uploads/{upload}"


def _resource(uri: str, content: bytes) -> dict[str, Any]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/1",
        "bucket": bucket,
        "name": name,
        "generation": "1",
        "metageneration": "1",
        "size": str(len(content)),
        "crc32c": checksum(content),
        "md5Hash": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
    }


def _related(request: Request) -> tuple[dict[str, Any], bytes]:
    """Return description and content of a `multipart/related` upload; the content may be any bytes."""
    boundary = request.headers["content-type"].rsplit("boundary=", 1)[1].strip("\"'").encode()
    _, described, content, _ = request.body.split(b"--" + boundary, 3)
    parts = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in (described, content)]
    return json.loads(parts[0]), parts[1]
