"""S3 on disk: the part of its protocol that boto3 uses for objects, listings and uploads in parts."""

import base64
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tunebridge.testing.wire import Refusal, Request, Response

OBJECT, UPLOADS = ".object", ".uploads"
PAGE = 1000


class Buckets:
    """Buckets as folders: the object `a/b` of the bucket `c` is the file `c/a/b.object`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, bucket: str, key: str, source: Path) -> None:
        """Take a file into a bucket, with the time at which it was changed before it was read."""
        partial, changed = self._partial(), source.stat().st_mtime_ns
        shutil.copyfile(source, partial)
        os.utime(partial, ns=(changed, changed))
        self._keep(partial, bucket, key)

    def path(self, bucket: str, key: str) -> Path:
        """Return where an object lies or would lie."""
        parts = [part for part in key.split("/") if part]
        if not parts or ".." in parts or "/" in bucket or bucket in ("", "..", UPLOADS):
            raise _refusal("InvalidRequest", f"the key {key!r} is not taken here", 400)
        return self._folder.joinpath(bucket, *parts[:-1], parts[-1] + OBJECT)

    def keys(self, bucket: str, prefix: str = "") -> Iterator[str]:
        """Yield the keys that begin with a prefix, in order."""
        root = self._folder / bucket
        found = (path.relative_to(root).as_posix().removesuffix(OBJECT) for path in root.rglob(f"*{OBJECT}"))
        yield from sorted(key for key in found if key.startswith(prefix))

    def create(self, bucket: str) -> None:
        """Make a bucket; one that is there stays."""
        (self._folder / bucket).mkdir(parents=True, exist_ok=True, mode=0o700)

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        bucket, _, key = unquote(request.path).lstrip("/").partition("/")
        if not bucket:
            return self._list_buckets()
        if request.method == "PUT" and not key:
            self.create(bucket)
            return Response(b"", headers={"Location": f"/{bucket}"})
        if not (self._folder / bucket).is_dir():
            raise _refusal("NoSuchBucket", "The specified bucket does not exist", 404)
        if key:
            return self._answer_for_object(request, bucket, key)
        if request.method == "POST" and "delete" in request.query:
            return self._delete_many(request, bucket)
        if request.method == "HEAD" or "location" in request.query:
            return _xml("<LocationConstraint/>")
        return self._list(request, bucket)

    def _answer_for_object(self, request: Request, bucket: str, key: str) -> Response:
        upload = request.query.get("uploadId")
        if request.method == "POST":
            return self._complete(request, bucket, key, upload) if upload else self._begin(bucket, key)
        if request.method == "PUT" and upload:
            part = self._folder / UPLOADS / upload / f"{int(request.query['partNumber']):05d}"
            part.write_bytes(_content(request))
            return Response(b"", headers={"ETag": _etag(part)})
        if request.method == "PUT":
            partial = self._partial()
            partial.write_bytes(_content(request))
            self._keep(partial, bucket, key)
            return Response(b"", headers={"ETag": _etag(self.path(bucket, key))})
        if request.method == "DELETE":
            if upload:
                shutil.rmtree(self._folder / UPLOADS / upload, ignore_errors=True)
            else:
                self.path(bucket, key).unlink(missing_ok=True)
            return Response(b"", status=204)
        return self._get(request, self.path(bucket, key))

    def _get(self, request: Request, path: Path) -> Response:
        if not path.is_file():
            raise _refusal("NoSuchKey", "The specified key does not exist.", 404)
        size = path.stat().st_size
        headers = {
            "ETag": _etag(path),
            "Last-Modified": format_datetime(_modified(path), usegmt=True),
            "Accept-Ranges": "bytes",
        }
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        start, end = (int(span[1]), int(span[2] or size - 1)) if span else (0, size - 1)
        end = min(end, size - 1)
        if span:
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        headers["Content-Length"] = str(end - start + 1)
        if request.method == "HEAD":
            return Response(b"", 200, headers, "application/octet-stream")
        with path.open("rb") as file:
            file.seek(start)
            return Response(file.read(end - start + 1), 206 if span else 200, headers, "application/octet-stream")

    def _list(self, request: Request, bucket: str) -> Response:
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = [key for key in self.keys(bucket, prefix) if key > after]
        shown = keys[: int(request.query.get("max-keys", PAGE))]
        contents = "".join(
            f"<Contents><Key>{escape(quote(key) if request.query.get('encoding-type') else key)}</Key>"
            f"<Size>{self.path(bucket, key).stat().st_size}</Size><ETag>{_etag(self.path(bucket, key))}</ETag>"
            f"<LastModified>{_modified(self.path(bucket, key)).isoformat()}</LastModified></Contents>"
            for key in shown
        )
        more = len(shown) < len(keys)
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        encoding = "<EncodingType>url</EncodingType>" if request.query.get("encoding-type") else ""
        counted = f"<KeyCount>{len(shown)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{encoding}"
        return _xml(f"<ListBucketResult><Name>{bucket}</Name>{counted}{token}{contents}</ListBucketResult>")

    def _list_buckets(self) -> Response:
        folders = sorted(path for path in self._folder.iterdir() if path.is_dir() and path.name != UPLOADS)
        found = "".join(
            f"<Bucket><Name>{path.name}</Name><CreationDate>{_modified(path).isoformat()}</CreationDate></Bucket>"
            for path in folders
        )
        return _xml(f"<ListAllMyBucketsResult><Buckets>{found}</Buckets></ListAllMyBucketsResult>")

    def _delete_many(self, request: Request, bucket: str) -> Response:
        for found in ElementTree.fromstring(_content(request)).iter():
            if found.tag.endswith("Key"):
                self.path(bucket, found.text or "").unlink(missing_ok=True)
        return _xml("<DeleteResult/>")

    def _begin(self, bucket: str, key: str) -> Response:
        upload = secrets.token_hex(8)
        (self._folder / UPLOADS / upload).mkdir(parents=True)
        named = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
        return _xml(f"<InitiateMultipartUploadResult>{named}</InitiateMultipartUploadResult>")

    def _complete(self, request: Request, bucket: str, key: str, upload: str) -> Response:
        folder, partial = self._folder / UPLOADS / upload, self._partial()
        with partial.open("wb") as whole:
            for part in sorted(folder.iterdir()):
                whole.write(part.read_bytes())
        shutil.rmtree(folder)
        self._keep(partial, bucket, key)
        named = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>{_etag(self.path(bucket, key))}</ETag>"
        return _xml(f"<CompleteMultipartUploadResult>{named}</CompleteMultipartUploadResult>")

    def _partial(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder / f".{secrets.token_hex(8)}.partial"

    def _keep(self, partial: Path, bucket: str, key: str) -> None:
        target = self.path(bucket, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(target)


def _content(request: Request) -> bytes:
    """Return the body, without the frames in which the SDK sends a stream, checked against the digest it came with."""
    content = request.body
    if "aws-chunked" in request.headers.get("content-encoding", ""):
        content = b"".join(_unframed(content))
    expected = request.headers.get("content-md5")
    if expected and base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode() != expected:
        raise _refusal("BadDigest", "The Content-MD5 you specified did not match what we received.", 400)
    return content


def _unframed(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return
        yield rest[:length]
        body = rest[length + 2 :]


def _etag(path: Path) -> str:
    with path.open("rb") as file:
        return f'"{hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()}"'


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def _xml(text: str) -> Response:
    return Response(text.encode(), content_type="application/xml")


def _refusal(code: str, message: str, status: int) -> Refusal:
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Refusal(Response(text.encode(), status, content_type="application/xml"))
