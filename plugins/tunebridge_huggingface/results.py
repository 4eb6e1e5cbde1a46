"""What a job pushed to the hub: seen as an artifact with its digest, and downloaded."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tunebridge import digests
from tunebridge.errors import StoreError
from tunebridge.job import Artifact
from tunebridge.training.config import RESULT_FILE
from tunebridge_huggingface.client import Remote


def artifacts(remote: Remote, repository: str) -> Sequence[Artifact]:
    """Return the adapter or model that a repository holds, with the digest that the trainer wrote down."""
    found = remote.files(repository)
    if found is None or RESULT_FILE not in found[1]:
        return []
    commit, sizes = found
    with tempfile.TemporaryDirectory(prefix="tunebridge-") as folder:
        remote.download(repository, commit, [RESULT_FILE], Path(folder))
        result = json.loads((Path(folder) / RESULT_FILE).read_bytes())
    kind = result["artifact_kind"]
    known = {
        "kind": kind,
        "uri": f"hf://{repository}@{commit}/{kind}",
        "digest": result["artifact_digest"],
        "size_bytes": sum(size for name, size in sizes.items() if name.startswith(f"{kind}/")),
    }
    return [Artifact.model_validate(known)]


def download(remote: Remote, artifact: Artifact, folder: Path) -> Path:
    """Copy an artifact as it was when it was listed, compare its digest, and return where it is."""
    repository, _, place = artifact.uri.removeprefix("hf://").partition("@")
    commit, _, kind = place.partition("/")
    target = folder / kind
    if target.exists():
        raise StoreError(f"{target} exists already. Choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    _, sizes = remote.files(repository, "download") or ("", {})
    names = [name for name in sizes if name.startswith(f"{kind}/")]
    with tempfile.TemporaryDirectory(prefix=".tunebridge-", dir=folder) as partial:
        remote.download(repository, commit, names, Path(partial))
        (Path(partial) / kind).mkdir(exist_ok=True)
        shutil.move(digests.require(Path(partial) / kind, artifact.digest), target)
    return target
