"""From a JobSpec to a Plan: what exactly will be sent, and what became of each field the user set."""

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from tunebridge.capabilities import Capabilities
from tunebridge.data.dataset import Dataset
from tunebridge.data.targets import Target
from tunebridge.data.writing.limits import Extent, check_limits
from tunebridge.data.writing.losses import RowsReport, count_losses
from tunebridge.errors import SpecError, UnsupportedFeature
from tunebridge.spec import JobSpec, SpecModel

Options = TypeVar("Options", bound=BaseModel)
Outcome = Literal["exact", "converted", "dropped", "refused", "default"]

# What the core itself does with a field; no backend has to translate these.
CORE_FIELDS: Mapping[str, str] = {
    "backend": "chooses the backend",
    "name": "kept with the job",
    "metadata": "kept with the job",
    "data.train": "read by TuneBridge",
    "data.validation": "read by TuneBridge",
    "data.format": "read by TuneBridge",
    "data.columns": "read by TuneBridge",
    "data.group": "read by TuneBridge",
    "data.stratify": "read by TuneBridge",
    "data.lossy": "applied by TuneBridge",
    "allow.drop": "applied to this plan",
    "allow.convert": "applied to this plan",
}


# The kinds of rows that a method learns from; a method that is not here takes whatever its backend declares.
METHOD_KINDS: Mapping[str, frozenset[str]] = {
    "sft": frozenset({"sft", "text"}),
    "dpo": frozenset({"preference"}),
    "kto": frozenset({"kto"}),
    "reinforcement": frozenset({"prompt_only"}),
}


class FieldReport(SpecModel):
    """What became of one field."""

    field: str
    """Dotted path in the job file; of a `default` line the field that was left unset."""
    outcome: Outcome
    value: Any = None
    """What the user wrote."""
    sent_as: str | None = None
    """Name of the payload's field."""
    sent: Any = None
    """Value in the payload."""
    reason: str = ""
    """Why it is not exact, or where a default comes from."""


class TranslationReport(SpecModel):
    """What became of every field the user set, and the defaults that fill the rest."""

    fields: tuple[FieldReport, ...]

    def by_outcome(self, outcome: Outcome) -> tuple[FieldReport, ...]:
        """Return the lines with one outcome."""
        return tuple(line for line in self.fields if line.outcome == outcome)


class DataSummary(SpecModel):
    """Which rows the plan is for."""

    fingerprint: str
    kind: str
    train_rows: int
    validation_rows: int
    train_fingerprint: str = ""
    validation_fingerprint: str = ""
    """Empty where no rows are held out."""


class Plan(SpecModel):
    """Everything that `submit` sends, as JSON; pure data, made offline."""

    backend: str
    base_model: str
    """The model's name as this backend spells it."""
    payload: dict[str, Any]
    """The request in the backend's own words."""
    data: DataSummary
    report: TranslationReport
    spec: dict[str, Any]
    """The job as the user set it, so that the plan can be made again."""
    warnings: tuple[str, ...] = ()
    rows: RowsReport | None = None
    """What the rows become in the shape in which they are sent; None where the backend takes canonical rows."""

    @property
    def digest(self) -> str:
        """`sha256:` and the digest of what will run: backend, model, payload and rows; warnings do not count."""
        parts: list[Any] = [self.backend, self.base_model, self.payload, self.data.fingerprint]
        if self.rows is not None:
            parts.append(self.rows.target)
        return "sha256:" + hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def connection(self) -> dict[str, Any]:
        """The payload's `connection`: where the job is sent; it is kept with the Job, so that later calls find it."""
        found: dict[str, Any] = self.payload.get("connection", {})
        return found

    @property
    def refused(self) -> tuple[FieldReport, ...]:
        """The fields that this backend cannot honour; a plan with any is never sent."""
        return self.report.by_outcome("refused")

    def require_sendable(self) -> None:
        """Raise UnsupportedFeature, naming every refused field, when there is one."""
        if not self.refused:
            return
        lines = "; ".join(f"{line.field}: {line.reason}" for line in self.refused)
        raise UnsupportedFeature(
            f"The {self.backend} backend cannot run this job as it is written: {lines}. "
            f"Change these fields, accept a loss with `allow`, or choose another backend.",
            feature=self.refused[0].field,
            backend=self.backend,
        )


class Translation:
    """Builds one Plan field by field; a set field that nobody took is refused when the plan is made."""

    def __init__(self, spec: JobSpec, dataset: Dataset, *, backend: str, capabilities: Capabilities) -> None:
        self.spec, self.dataset, self.backend, self.capabilities = spec, dataset, backend, capabilities
        self.payload: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.rows: RowsReport | None = None
        self._section = ""
        self._set = spec.set_fields()
        self._lines: dict[str, FieldReport] = {}
        for field, reason in CORE_FIELDS.items():
            if field in self._set:
                self.accept(field, reason)

    @property
    def method(self) -> str:
        """The method that is set; unset, the one of this backend's that learns from rows of the dataset's kind."""
        if "method.type" in self._set:
            return self.spec.method.type
        offered = sorted(self.capabilities.methods)
        return next((m for m in offered if self.dataset.kind in METHOD_KINDS.get(m, ())), self.spec.method.type)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Put whatever the block sends under a part of the payload, such as `run`."""
        before, self._section = self._section, f"{self._section}{name}."
        try:
            yield
        finally:
            self._section = before

    def is_set(self, field: str) -> bool:
        """Whether the user set the field."""
        return field in self._set

    def get(self, field: str) -> Any:
        """Return the value that the user set, None where it is unset."""
        return self._set.get(field)

    def take(self, field: str, sent_as: str, *, default: Any = None, source: str = "") -> Any:
        """Send a field as it is, or `default` where it is unset, and return what is sent.

        `default` None means that nothing is sent and the backend decides; `source` says where a default comes from.
        """
        if field in self._set:
            self._send(field, "exact", sent_as, self._set[field])
            return self._set[field]
        if default is not None:
            self._send(field, "default", sent_as, default, reason=source)
        return default

    def convert(self, field: str, sent_as: str, sent: Any, reason: str, *, changes_meaning: bool = False) -> None:
        """Send a field in the backend's own unit or spelling; one that changes in meaning needs the user's word."""
        if changes_meaning and field not in self.spec.allow.convert:
            self.refuse(field, f"{reason}; accept that with allow.convert: [{field}]")
            return
        self._send(field, "converted", sent_as, sent, reason=reason)

    def accept(self, field: str, reason: str) -> None:
        """Say that a field is honoured without being sent."""
        self._note(field, "exact", reason=reason)

    def drop(self, field: str, reason: str) -> None:
        """Leave a field out where the user allowed it, refuse it otherwise."""
        if field in self.spec.allow.drop:
            self._note(field, "dropped", reason=reason)
        else:
            self.refuse(field, f"{reason}; leave it out with allow.drop: [{field}]")

    def refuse(self, field: str, reason: str) -> None:
        """Say that the backend cannot honour what the user set."""
        self._note(field, "refused", reason=reason)

    def choose(self, field: str, sent_as: str, choices: Mapping[str, Any], *, default: str) -> str:
        """Send one of the backend's own words for a choice; another choice is refused, naming the possible ones."""
        value = str(self._set.get(field, default))
        if value not in choices:
            self.refuse(field, f"{value!r} is not offered here; {self.backend} offers {', '.join(sorted(choices))}")
        elif field in self._set:
            self._send(field, "exact", sent_as, choices[value])
        else:
            self._send(field, "default", sent_as, choices[value])
        return value

    def base_model(self, sent_as: str, *, default: str | None = None) -> str:
        """Send the base model's name; SpecError where a per-backend table has no row for this backend."""
        model = self.spec.model_for(self.backend) or default
        if model is None:
            raise SpecError(
                f"base_model names no model for the backend {self.backend!r}. Add a line "
                f"`{self.backend}: MODEL` under base_model.",
                key="base_model",
            )
        self._send("base_model", "exact", sent_as, model)
        return model

    def options(self, schema: type[Options], sent_as: Mapping[str, str] | None = None) -> Options:
        """Check the backend's own section against its schema, send each knob that was set, and return the section.

        `sent_as` says under which name a knob is sent, such as `region` as `connection.region`; otherwise its own.
        """
        values = self.spec.options.get(self.backend, {})
        try:
            options = schema.model_validate(values)
        except ValidationError as error:
            raise SpecError(_explain(error, f"options.{self.backend}", schema), key=f"options.{self.backend}") from None
        for name in values:
            self.take(f"options.{self.backend}.{name}", (sent_as or {}).get(name, name))
        return options

    def rows_as(self, target: Target) -> RowsReport:
        """Say in which shape the rows are sent, and return what becomes of them.

        Rows that the target refuses, or more rows than it takes, refuse the plan; losses are refused, told or only
        counted, as `data.lossy` wants it. Under `allow` refused rows are left out, counted and told.
        """
        self.rows = count_losses(self.dataset, target)
        policy = self.spec.data.lossy
        for problem in self.rows.problems(policy):
            if problem.severity == "error":
                self.refuse("data.train", f"{problem.message}; {problem.fix[:1].lower()}{problem.fix[1:].rstrip('.')}")
            else:
                self.warn(f"{problem.message}. data.lossy: error refuses such rows.")
        if policy == "allow" and self.rows.refused:
            left_out = f"{self.rows.refused_rows} of {self.rows.rows} rows"
            self.warn(f"{left_out} are left out, because {self.rows.target} cannot take them.")
        train, held_out = Extent(self.rows.train_rows), Extent(self.rows.validation_rows)
        for finding in check_limits(target, train=train, validation=held_out):
            field = "data.validation" if "validation" in finding.message else "data.train"
            self.refuse(field, finding.message)
        return self.rows

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the job."""
        self.warnings.append(message)

    def plan(self) -> Plan:
        """Return the Plan; each set field that was not taken is refused (or dropped where allowed)."""
        self._check_capabilities()
        for field in self._set:
            if field not in self._lines:
                self.drop(field, f"the {self.backend} backend has nothing like it")
        return Plan(
            backend=self.backend,
            base_model=str(self._lines["base_model"].sent),
            payload=self.payload,
            data=summarise(self.dataset),
            report=TranslationReport(fields=tuple(self._lines.values())),
            spec=self.spec.to_json(),
            warnings=tuple(self.warnings),
            rows=self.rows,
        )

    def _check_capabilities(self) -> None:
        can, method = self.capabilities, self.spec.method
        if method.type not in can.methods:
            self.refuse("method.type", _not_among(method.type, can.methods))
        if method.adapter.type not in can.adapters:
            self.refuse("method.adapter.type", _not_among(method.adapter.type, can.adapters))
        for field, declared in (("method.type", can.methods), ("method.adapter.type", can.adapters)):
            if field in self._set and field not in self._lines and len(declared) == 1:
                self.accept(field, "the only one that this backend offers")
        fitting = can.dataset_kinds & METHOD_KINDS.get(self.method, can.dataset_kinds)
        if self.dataset.kind not in fitting:
            self.refuse("data.train", f"for {self.method}, rows of kind {_not_among(self.dataset.kind, fitting)}")
        if self.dataset.validation and not can.validation_data:
            self.drop("data.validation", f"the {self.backend} backend takes no held-out rows")
        if self.rows is None:  # a target says more exactly what becomes of them
            self._check_features()

    def _check_features(self) -> None:
        """Refuse rows that the backend can only take with a loss, or say what is lost, as `data.lossy` wants it."""
        rows = sum(len(split) for split in self.dataset.splits)
        for feature, count in sorted(self.dataset.features.items()):
            if feature in self.capabilities.dataset_features:
                continue
            sentence = f"{count} of {rows} rows have {feature}, which the {self.backend} backend does not take"
            if self.spec.data.lossy == "error":
                self.refuse("data.train", f"{sentence}; take it out of the rows, or accept the loss with data.lossy")
            elif self.spec.data.lossy == "warn":
                self.warn(f"{sentence}: it will not be learnt. data.lossy: error refuses such rows.")

    def _send(self, field: str, outcome: Outcome, sent_as: str, sent: Any, *, reason: str = "") -> None:
        target, sent_as = self.payload, self._section + sent_as
        *parents, name = sent_as.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = to_jsonable_python(sent)
        self._note(field, outcome, reason=reason, sent_as=sent_as, sent=target[name])

    def _note(self, field: str, outcome: Outcome, *, reason: str, sent_as: str | None = None, sent: Any = None) -> None:
        before = self._lines.get(field)
        if before is not None and before.outcome == "refused":
            return  # what was refused stays so, whatever is found of the field later
        value = to_jsonable_python(self._set.get(field))
        self._lines[field] = FieldReport(
            field=field, outcome=outcome, value=value, sent_as=sent_as, sent=sent, reason=reason
        )


def _explain(error: ValidationError, section: str, schema: type[BaseModel]) -> str:
    """Return one sentence per problem; an unknown key names the nearest known one. Values are not repeated."""
    sentences = []
    for problem in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        near = difflib.get_close_matches(key, schema.model_fields, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near and near[0] != key else ""
        sentences.append(f"{section}.{key}: {problem['msg'][:1].lower()}{problem['msg'][1:]}{hint}")
    return "; ".join(sentences) + f". Known are: {', '.join(schema.model_fields)}."


def _not_among(value: str, offered: frozenset[Any]) -> str:
    return f"{value!r} is not offered here; possible: {', '.join(sorted(offered)) or 'none'}"


def summarise(dataset: Dataset) -> DataSummary:
    """Return which rows a plan is for."""
    return DataSummary(
        fingerprint=dataset.fingerprint,
        kind=dataset.kind,
        train_rows=len(dataset.train),
        validation_rows=len(dataset.validation or ()),
        train_fingerprint=dataset.train.fingerprint,
        validation_fingerprint=dataset.validation.fingerprint if dataset.validation else "",
    )
