"""The files that are uploaded: canonical rows in the shape of the job's service, written beside the job's rows."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunebridge.data.dataset import Split
from tunebridge.data.targets import Target
from tunebridge.data.writing.shards import write_split
from tunebridge_openai.rows import targets

BACKENDS = {"openai": "openai", "azure": "azure_openai", "custom": "openai"}
"""Service -> the backend whose targets have its rows."""


def target(service: str, shape: str, *, byte_order_mark: bool) -> Target:
    """Return the shape of row that a service takes."""
    found = next(one for one in targets() if (one.backend, one.name) == (BACKENDS[service], shape))
    return replace(found, byte_order_mark=byte_order_mark)


def write_file(folder: Path, split: str, plan: Mapping[str, Any]) -> Path:
    """Write a split in the shape that the plan names and return the file; the service takes one for each split."""
    rows = plan["rows"]
    shape = target(plan["connection"]["service"], rows["shape"], byte_order_mark=rows["byte_order_mark"])
    uploads = folder / "upload"
    uploads.mkdir(mode=0o700, exist_ok=True)
    (path,) = write_split(Split.read(folder / f"{split}.jsonl"), shape, uploads, split)
    return path
