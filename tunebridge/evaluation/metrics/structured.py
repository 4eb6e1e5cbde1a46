"""Scores of JSON answers: validity, a schema, and the fields of a reference."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunebridge.errors import EvaluationError, MissingDependency
from tunebridge.evaluation.metrics.row import Json, Metric, MetricRow
from tunebridge.evaluation.names import listed, nearest

_FENCE = re.compile(r"\s*```[a-zA-Z0-9]*\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
MISSING = object()


def json_valid(*, fenced: bool = False) -> Metric:
    """Return 1 where the answer is one JSON value; `fenced` lets it stand in a Markdown code block."""
    return Metric("json_valid", lambda output, _: float(parse(output, fenced=fenced) is not MISSING), is_binary=True)


def json_schema(*, schema: Json | None = None, fenced: bool = False) -> Metric:
    """Return 1 where the answer is JSON that fits the row's schema, or else `schema`; nothing is ever fetched."""
    checked: dict[str, Any] = {}  # a validator is made once per schema

    def score(output: str, row: MetricRow) -> float:
        wanted = row.schema if row.schema is not None else schema
        if wanted is None:
            raise EvaluationError("A row has no JSON schema. Add one to the row, or give the metric one.")
        key = json.dumps(wanted, sort_keys=True)
        if key not in checked:
            checked[key] = _validator(wanted)
        value = parse(output, fenced=fenced)
        return float(value is not MISSING and _fits(checked[key], value))

    return Metric("json_schema", score, is_binary=True)


def json_fields(*, fields: str | Sequence[str] = (), strict: bool = False, fenced: bool = False) -> Metric:
    """Return the share of the reference's fields that the answer has with an equal value.

    A field is a path to a value that is no object and no list: `address.city`, `items[0].price`. `fields` names those
    that count, alone or as the beginning of paths; `strict` counts fields that the reference lacks as wrong.
    """
    counted = _Fields(listed(fields), strict=strict, fenced=fenced)
    return Metric("json_fields", counted.score, corpus_score=counted.corpus)


@dataclass(frozen=True)
class _Fields:
    """Which fields of an answer count."""

    named: tuple[str, ...]
    strict: bool
    fenced: bool

    def judge(self, output: str, row: MetricRow) -> dict[str, bool]:
        """Return by path whether an answer has the reference's value."""
        wanted = _chosen(_reference_fields(row), self.named)
        value = parse(output, fenced=self.fenced)
        said = {} if value is MISSING else _chosen(dict(_leaves(value)), self.named)
        judged = {path: path in said and same(said[path], right) for path, right in wanted.items()}
        extra = said.keys() - wanted.keys() if self.strict else ()
        return judged | dict.fromkeys(extra, False)

    def score(self, output: str, row: MetricRow) -> float:
        """Return the share of fields that are right; 1 where there are none."""
        return _share(self.judge(output, row).values())

    def corpus(self, outputs: Sequence[str], rows: Sequence[MetricRow]) -> dict[str, Any]:
        """Return the mean of the rows' shares, and of each field the share of rows in which it is right."""
        _require_fields(self.named, rows)
        judged = [self.judge(output, row) for output, row in zip(outputs, rows, strict=True)]
        paths = sorted({path for found in judged for path in found})
        return {
            "json_fields": sum(_share(found.values()) for found in judged) / len(judged),
            "fields": {path: _share([found[path] for found in judged if path in found]) for path in paths},
        }


def _share(hits: Collection[bool]) -> float:
    return sum(hits) / len(hits) if hits else 1.0


def parse(output: str, *, fenced: bool = False) -> Any:
    """Return the JSON value of an answer, or MISSING where it is none (NaN and Infinity are none)."""
    block = _FENCE.fullmatch(output) if fenced else None
    try:
        return json.loads(block.group(1) if block else output, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return MISSING


def _refuse(name: str) -> None:
    raise ValueError(name)


def same(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not value or not isinstance(value, dict | list):
        yield path, value
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
    else:
        for key, part in value.items():
            name = key.replace(".", "\\.")
            yield from _leaves(part, f"{path}.{name}" if path else name)


def _reference_fields(row: MetricRow) -> dict[str, Any]:
    value = parse(row.right_answers[0], fenced=True)
    if value is MISSING:
        raise EvaluationError("A reference is no JSON. Mend the row, or choose another metric.")
    return dict(_leaves(value))


def _require_fields(fields: Sequence[str], rows: Sequence[MetricRow]) -> None:
    """Refuse a field that no reference has: a slip of the pen would else count as right everywhere."""
    known = {path for row in rows for path in _reference_fields(row)}
    for field in fields:
        if not _chosen(dict.fromkeys(known), (field,)):
            raise EvaluationError(nearest("field of a reference", field, known))


def _chosen(leaves: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    if not fields:
        return leaves
    chosen = re.compile("|".join(rf"{re.escape(field)}(?=$|\.|\[)" for field in fields))
    return {path: value for path, value in leaves.items() if chosen.match(path)}


def _validator(schema: Json) -> Any:
    try:
        import jsonschema
        from jsonschema_specifications import REGISTRY
    except ImportError:
        raise MissingDependency("jsonschema", extra="eval") from None
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise EvaluationError(f"The JSON schema is wrong at {error.json_path}: {error.message}. Mend it.") from None
    return kind(schema, registry=REGISTRY)  # a registry of ours fetches nothing; jsonschema's own asks the network


def _fits(validator: Any, value: Any) -> bool:
    from referencing.exceptions import Unresolvable

    try:
        return bool(validator.is_valid(value))
    except Unresolvable as error:
        raise EvaluationError(
            f"The JSON schema refers to {error.ref!r}, which is not in it, and nothing is fetched. "
            "Put that part under $defs and refer to it there."
        ) from None
