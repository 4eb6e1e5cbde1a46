"""The files that are uploaded: canonical rows in the service's shape, written beside the job's rows."""

import json
import os
from pathlib import Path

from tunebridge.data.dataset import Split
from tunebridge.errors import InvalidRequest
from tunebridge_vertexai.translate import SHAPES


def write_file(folder: Path, split: str, shape: str) -> Path:
    """Write a split in a shape and return the file; InvalidRequest names the first row that the shape cannot take."""
    target = folder / f"upload-{split}.jsonl"
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        for number, example in enumerate(Split.read(folder / f"{split}.jsonl"), start=1):
            converted = SHAPES[shape].convert(example.to_json())
            if converted.refused:
                raise InvalidRequest(
                    f"row {number} of {split}: {converted.refused.message}. Check the rows with "
                    f"`tunebridge data check --for vertexai`.",
                    backend="vertexai",
                    operation="submit",
                )
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in converted.rows)
    return target
