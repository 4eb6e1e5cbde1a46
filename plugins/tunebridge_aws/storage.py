"""S3 as the plugins use it: files under names that carry their digest, uploaded once, in parts where they are large."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tunebridge import digests
from tunebridge.errors import NotFound
from tunebridge_aws.session import Session

PART_BYTES = 64 * 2**20
DELETED_AT_ONCE = 1000


@dataclass(frozen=True)
class Location:
    """`s3://BUCKET/KEY`."""

    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read an S3 URI; ValueError when it is none."""
        scheme, separator, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not separator or not bucket:
            raise ValueError(f"{uri!r} is no S3 address such as s3://BUCKET/KEY")
        return cls(bucket, key)

    @property
    def uri(self) -> str:
        """The address as text."""
        return f"s3://{self.bucket}/{self.key}"

    def below(self, *names: str) -> "Location":
        """Return a place below this one."""
        return Location(self.bucket, "/".join((*((self.key.rstrip("/"),) if self.key else ()), *names)))


class Storage:
    """The buckets that a session can reach; every method raises BackendError."""

    def __init__(self, session: Session, *, kms_key_id: str | None = None) -> None:
        self._session, self._kms_key_id = session, kms_key_id
        self._s3 = session.client("s3")

    def put_file(self, path: Path, folder: Location) -> Location:
        """Upload a file below a folder named after its digest and return that folder; what is there stays."""
        target = folder.below(digests.of_file(path).removeprefix("sha256:")[:32], path.name)
        with self._session.translated("upload"):
            if self._size(target) != path.stat().st_size:
                self._s3.upload_file(
                    str(path), target.bucket, target.key, ExtraArgs=self._encryption(), Config=_transfer()
                )
        return Location(target.bucket, target.key.rpartition("/")[0])

    def put_folder(self, folder: Path, target: Location) -> Location:
        """Upload a folder's files below a place and return the place."""
        with self._session.translated("upload"):
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                place = target.below(path.relative_to(folder).as_posix())
                self._s3.upload_file(
                    str(path), place.bucket, place.key, ExtraArgs=self._encryption(), Config=_transfer()
                )
        return target

    def size(self, place: Location) -> int | None:
        """Return how many bytes an object has, None where there is none."""
        with self._session.translated("read"):
            return self._size(place)

    def get(self, place: Location, target: Path) -> Path:
        """Download an object into a file."""
        with self._session.translated("download"):
            self._s3.download_file(place.bucket, place.key, str(target), Config=_transfer())
        return target

    def list(self, folder: Location) -> Iterator[Location]:
        """Yield every object whose key begins as the folder's."""
        with self._session.translated("list"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=folder.key):
                for found in page.get("Contents", ()):
                    yield Location(folder.bucket, found["Key"])

    def delete(self, folder: Location) -> None:
        """Delete every object below a folder; a bucket that is gone is no error."""
        try:
            keys = [{"Key": found.key} for found in self.list(folder.below(""))]
        except NotFound:
            return
        with self._session.translated("delete"):
            for start in range(0, len(keys), DELETED_AT_ONCE):
                batch = {"Objects": keys[start : start + DELETED_AT_ONCE], "Quiet": True}
                self._s3.delete_objects(Bucket=folder.bucket, Delete=batch)

    def _size(self, place: Location) -> int | None:
        from botocore.exceptions import ClientError

        try:
            return int(self._s3.head_object(Bucket=place.bucket, Key=place.key)["ContentLength"])
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return None
            raise

    def _encryption(self) -> dict[str, Any]:
        if self._kms_key_id is None:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._kms_key_id}


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES)
