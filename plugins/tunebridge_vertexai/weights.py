"""Weights that lie in Cloud Storage: seen as an artifact, and copied."""

from collections.abc import Sequence
from pathlib import Path

from tunebridge import digests
from tunebridge.errors import StoreError
from tunebridge.job import Artifact
from tunebridge_vertexai.client import Remote


def weights(remote: Remote, uri: str, kind: str, digest: str | None = None) -> Sequence[Artifact]:
    """Return a folder of weights as an artifact, nothing where it is empty."""
    sizes = remote.objects(uri)
    if not sizes:
        return []
    known = {"kind": kind, "uri": uri, "digest": digest, "size_bytes": sum(sizes.values())}
    return [Artifact.model_validate(known)]


def download(remote: Remote, artifact: Artifact, folder: Path) -> Path:
    """Copy an artifact and return where it is; the SDK compares each file's checksum, and the digest is ours."""
    target = folder / artifact.uri.rstrip("/").rsplit("/", 1)[1]
    if target.exists():
        raise StoreError(f"{target} exists already. Choose another folder.")
    for name in remote.objects(artifact.uri, "download"):
        path = (target / name).resolve()
        if not path.is_relative_to(target.resolve()):
            raise StoreError(f"{artifact.uri} holds a file whose name leads elsewhere. Look at the bucket.")
        remote.download(f"{artifact.uri.rstrip('/')}/{name}", path)
    return digests.require(target, artifact.digest)
