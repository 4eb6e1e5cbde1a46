"""The files that are uploaded: canonical rows in the service's shape, written beside the job's rows."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebridge.data.dataset import Split
from tunebridge.errors import InvalidRequest
from tunebridge_openai.rows import OPENAI_SHAPES

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def write_file(folder: Path, split: str, rows: Mapping[str, Any]) -> Path:
    """Write a split in the shape that the plan names and return the file."""
    convert, target = OPENAI_SHAPES[rows["shape"]].convert, folder / f"upload-{split}.jsonl"
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(BYTE_ORDER_MARK if rows["byte_order_mark"] else b"")
        for number, example in enumerate(Split.read(folder / f"{split}.jsonl"), start=1):
            converted = convert(example.to_json())
            if converted.refused:
                raise InvalidRequest(
                    f"row {number} of {split}: {converted.refused.message}. Check the rows with "
                    f"`tunebridge data check --for openai`.",
                    backend="openai",
                    operation="submit",
                )
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in converted.rows)
    return target
