"""Rendered rows kept in the run folder, so that a resumed run does not turn text into tokens again.

They lie beside the rows they were made from and go when the job is deleted. A kept file counts only under the
fingerprint of everything that went into it: the rows, the tokenizer and its template, and the policy for long rows.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tunebridge import digests
from tunebridge.data.rendering.render import RenderedRow
from tunebridge.training.config import RunConfig
from tunebridge.training.rows import RenderedSplit, Unit

VERSION = 1
"""Raised when rendering changes its results."""


def kept(path: Path, made_of: str, render: Callable[[], RenderedSplit], *, keep: bool = True) -> RenderedSplit:
    """Return the split kept at `path` under the fingerprint, else render it and `keep` it."""
    found = _read(path, made_of) if path.exists() else None
    if found is None:
        found = render()
        if keep:
            _write(path, made_of, found)
    return found


def fingerprint(rows: Path, tokenizer: Any, run: RunConfig) -> str:
    """Return the digest of everything that decides how a file of rows is rendered."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = [
        VERSION,
        digests.of_file(rows),
        backend.to_str() if backend is not None else sorted(tokenizer.get_vocab().items()),
        tokenizer.chat_template,
        tokenizer.eos_token_id,
        [run.method, run.max_length, run.too_long],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write(path: Path, made_of: str, split: RenderedSplit) -> None:
    rows = [row for unit in split.units for row in unit.rows]
    tensors = {
        "token_ids": torch.tensor([token for row in rows for token in row.token_ids], dtype=torch.int32),
        "is_trained": torch.tensor([mark for row in rows for mark in row.is_trained], dtype=torch.bool),
        "lengths": torch.tensor([len(row.token_ids) for row in rows], dtype=torch.int32),
        "lines": torch.tensor(split.lines, dtype=torch.int32),
    }
    metadata = {"fingerprint": made_of, "dropped": str(split.dropped), "truncated": str(split.truncated)}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata)
    partial.rename(path)


def _read(path: Path, made_of: str) -> RenderedSplit | None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        if metadata.get("fingerprint") != made_of:
            return None
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    ends = tensors["lengths"].cumsum(0).tolist()
    ids, marks = tensors["token_ids"].tolist(), tensors["is_trained"].tolist()
    rows = [RenderedRow(ids[begin:end], marks[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
    lines = tensors["lines"].tolist()
    per_unit = len(rows) // len(lines)
    units = tuple(Unit(tuple(rows[number : number + per_unit])) for number in range(0, len(rows), per_unit))
    return RenderedSplit(units, tuple(lines), int(metadata["dropped"]), int(metadata["truncated"]))
