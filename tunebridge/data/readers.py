"""From the user's files to Examples: one reader per shape of row, found from the keys or named in the job file."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from tunebridge.data.checks import Problem, Row, check_leakage, check_rows
from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.example import Example
from tunebridge.data.split import split_by_hash
from tunebridge.errors import DataError
from tunebridge.spec import DataSpec

MAX_PROBLEMS_SHOWN = 10
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

RawRow = dict[str, Any]


@dataclass(frozen=True)
class Reader:
    """Reads one shape of row."""

    name: str
    """Value of `data.format`."""
    keys: frozenset[str]
    """Keys that a row of this shape has; a row with all of them is taken for it."""
    convert: Callable[[RawRow], RawRow]
    """Turn a row into the keys of an Example; KeyError and TypeError count as a wrong shape."""


def _chat(row: RawRow) -> RawRow:
    return row


def _preference(row: RawRow) -> RawRow:
    given = row["input"]
    known = {key: given[key] for key in ("tools", "parallel_tool_calls") if key in given}
    return {
        **_others(row, "input", "preferred_output", "non_preferred_output"),
        **known,
        "messages": given["messages"],
        "preferred": row["preferred_output"],
        "rejected": row["non_preferred_output"],
    }


def _chosen_rejected(row: RawRow) -> RawRow:
    return {
        **_others(row, "prompt", "chosen", "rejected"),
        "messages": _turns(row["prompt"], "user"),
        "preferred": _turns(row["chosen"], "assistant"),
        "rejected": _turns(row["rejected"], "assistant"),
    }


def _prompt_completion(row: RawRow) -> RawRow:
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    turns = [*system, *_turns(row["prompt"], "user"), *_turns(row["completion"], "assistant")]
    return {**_others(row, "system", "prompt", "completion"), "messages": turns}


READERS = (
    Reader("chat", frozenset({"messages"}), _chat),
    Reader("preference", frozenset({"input", "preferred_output", "non_preferred_output"}), _preference),
    Reader("chosen_rejected", frozenset({"prompt", "chosen", "rejected"}), _chosen_rejected),
    Reader("prompt_completion", frozenset({"prompt", "completion"}), _prompt_completion),
    Reader("text", frozenset({"text"}), _chat),
)


def load_dataset(data: DataSpec, *, seed: int = 0, readers: Sequence[Reader] = ()) -> Dataset:
    """Read, convert, check and split the job's rows.

    DataError names the first problems with file, line, code and fix; warnings stay in `Dataset.problems`.
    """
    known = (*READERS, *readers)
    train, problems = read_file(Path(data.train), data, known)
    validation: list[Row] = []
    if isinstance(data.validation, str):
        validation, more = read_file(Path(data.validation), data, known)
        problems += [*more, *check_leakage(train, validation, Path(data.validation))]
    _raise_for(problems)
    if isinstance(data.validation, float):
        train, validation = split_by_hash(train, data.validation, seed=seed)
    return Dataset(
        train=_split(train, data.train),
        validation=_split(validation, str(data.validation)) if validation else None,
        problems=tuple(problems),
    )


def read_file(path: Path, data: DataSpec, readers: Sequence[Reader] = READERS) -> tuple[list[Row], list[Problem]]:
    """Return a file's rows and everything that is wrong with them; broken rows are left out of the first."""
    problems: list[Problem] = []
    rows: list[Row] = []
    reader: Reader | None = None
    for line, raw in _raw_rows(path, problems):
        renamed = _rename(raw, data.columns or {})
        try:
            reader = reader or _choose(renamed, data.format, readers)
            rows.append(Row(line, _example(renamed, reader, readers)))
        except DataError as error:
            problems.append(_schema_problem(str(error), path, line, error.code or "E003"))
            if reader is None:
                return rows, problems
    if not rows and not problems:
        problems.append(
            Problem(code="E010", severity="error", message="there are no rows", fix="Add rows.", file=str(path))
        )
    return rows, problems + check_rows(rows, path)


def _example(raw: RawRow, reader: Reader, readers: Sequence[Reader]) -> Example:
    if not reader.keys <= raw.keys():
        other = next((r.name for r in readers if r.keys <= raw.keys()), None)
        seen = f"looks like {other}" if other else f"has the keys {', '.join(sorted(raw)) or 'none'}"
        raise DataError(
            f"the row {seen}, while the file began as {reader.name}. Keep one format per file",
            code="E011" if other else "E003",
        )
    try:
        return Example.model_validate(reader.convert(raw))
    except ValidationError as error:
        raise DataError(_explain(error), code="E003") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the row is not of the shape {reader.name} ({error}). Mend the row", code="E003") from None


def _choose(raw: RawRow, name: str | None, readers: Sequence[Reader]) -> Reader:
    """Return the reader that the job file names, or the only one that fits the first row."""
    if name is not None:
        named = next((reader for reader in readers if reader.name == name), None)
        if named is None:
            known = ", ".join(reader.name for reader in readers)
            raise DataError(f"data.format {name!r} is not known. Use one of {known}", code="E003")
        return named
    fitting = [reader for reader in readers if reader.keys <= raw.keys()]
    if len(fitting) == 1:
        return fitting[0]
    seen = ", ".join(sorted(raw)) or "none"
    if not fitting:
        raise DataError(
            f"the row's keys ({seen}) fit no known format. Set data.format, or name your columns in data.columns",
            code="E003",
        )
    names = " or ".join(reader.name for reader in fitting)
    raise DataError(f"the row's keys ({seen}) fit {names}. Say which with data.format", code="E003")


def _raw_rows(path: Path, problems: list[Problem]) -> Iterator[tuple[int, RawRow]]:
    """Yield (line, row) of a file; what cannot be read goes to `problems`."""
    text = _bytes(path)
    if path.suffix == ".json":
        yield from _array_rows(text, path)
        return
    for number, line in enumerate(text.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, _parse(line)
        except DataError as error:
            problems.append(_schema_problem(str(error), path, number, error.code or "E002"))


def _bytes(path: Path) -> bytes:
    try:
        text = path.read_bytes()
        if path.suffix == ".gz":
            text = gzip.decompress(text)
    except FileNotFoundError:
        raise DataError("there is no such file. Check data.train and data.validation.", file=path) from None
    except (OSError, EOFError) as error:
        raise DataError(f"cannot be read ({error}). Check the file and its permissions.", file=path) from None
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("is UTF-16. Save it as UTF-8.", file=path, line=1, code="E001")
    return text.removeprefix(BYTE_ORDER_MARK)


def _parse(line: bytes) -> RawRow:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        code = "E001" if not _is_utf8(line) else "E002"
        raise DataError(
            f"not valid JSON: {error.msg} (column {error.colno}). Mend or remove the line", code=code
        ) from None
    except RecursionError:
        raise DataError("nested too deep. Mend or remove the line", code="E002") from None
    if not isinstance(row, dict):
        raise DataError(f"a row is a JSON object, this is a {type(row).__name__}. Mend or remove the line", code="E002")
    _refuse_double_keys(line)
    return row


def _refuse_double_keys(line: bytes) -> None:
    """Refuse a key that is named twice in one object: every parser would keep the last and forget the first."""

    def pairs(items: Sequence[tuple[str, Any]]) -> RawRow:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"the key {twice!r} stands there twice. Remove one", code="E002")
        return found

    json.loads(line, object_pairs_hook=pairs)


def _array_rows(text: bytes, path: Path) -> Iterator[tuple[int, RawRow]]:
    try:
        rows = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError(f"not valid JSON: {error.msg}. Mend it.", file=path, line=error.lineno, code="E002") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError("a .json file holds one array of objects. For one object per line use .jsonl.", file=path)
    yield from enumerate(rows, start=1)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _rename(row: RawRow, columns: Mapping[str, str]) -> RawRow:
    theirs = {theirs: ours for ours, theirs in columns.items()}
    return {theirs.get(key, key): value for key, value in row.items()} if theirs else row


def _turns(value: Any, role: str) -> list[Any]:
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _others(row: RawRow, *taken: str) -> RawRow:
    """Return the rest of a row: what Example knows by name, and everything else as metadata."""
    rest = {key: value for key, value in row.items() if key not in taken}
    known = {key: rest.pop(key) for key in list(rest) if key in Example.model_fields}
    if rest:
        known["metadata"] = {**rest, **(known.get("metadata") or {})}
    return known


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where + ': ' if where else ''}{message[:1].lower()}{message[1:]}. Mend or remove the row"


def _schema_problem(message: str, path: Path, line: int, code: str) -> Problem:
    what, _, fix = message.rpartition(". ")
    return Problem(code=code, severity="error", message=what or message, fix=f"{fix}.", file=str(path), line=line)


def _raise_for(problems: Iterable[Problem]) -> None:
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    shown = "\n".join(str(problem) for problem in errors[:MAX_PROBLEMS_SHOWN])
    rest = len(errors) - MAX_PROBLEMS_SHOWN
    more = f"\n... and {rest:,} more" if rest > 0 else ""
    raise DataError(f"{len(errors):,} problem{'s' if len(errors) > 1 else ''} in the data:\n{shown}{more}")


def _split(rows: Sequence[Row], source: str) -> Split:
    return Split(tuple(row.example for row in rows), lines=tuple(row.line for row in rows), source=source)
