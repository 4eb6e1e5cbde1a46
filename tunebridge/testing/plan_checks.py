"""Checks that need no job: import, plan, capabilities."""

import inspect
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from tunebridge.backend import Backend
from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.example import Example, Feature, FunctionCall, Message, ToolCall
from tunebridge.errors import PlanError, SpecError
from tunebridge.plan import CORE_FIELDS, METHOD_KINDS, FieldReport, Plan
from tunebridge.spec import JobSpec
from tunebridge.testing.case import ConformanceError, Lab, Skipped, no_network, small_dataset, without

# A plain value, and another one, for each field that a job may set.
SAMPLES: Mapping[str, tuple[Any, Any]] = {
    "method.adapter.rank": (4, 8),
    "method.adapter.alpha": (8.0, 16.0),
    "method.adapter.dropout": (0.1, 0.2),
    "method.adapter.target_modules": (("q_proj",), ("q_proj", "v_proj")),
    "method.beta": (0.1, 0.2),
    "hyperparameters.epochs": (2.0, 3.0),
    "hyperparameters.max_steps": (3, 4),
    "hyperparameters.batch_size": (2, 4),
    "hyperparameters.learning_rate": (1e-4, 2e-4),
    "hyperparameters.learning_rate_multiplier": (1.5, 2.0),
    "hyperparameters.schedule": ("linear", "cosine"),
    "hyperparameters.warmup_ratio": (0.1, 0.2),
    "hyperparameters.weight_decay": (0.01, 0.02),
    "hyperparameters.max_grad_norm": (0.5, 2.0),
    "hyperparameters.max_length": (64, 128),
    "hyperparameters.seed": (1, 2),
    "hyperparameters.early_stopping_patience": (1, 2),
    "budget.max_hours": (1.0, 2.0),
    "budget.max_usd": ("5", "6"),
    "data.too_long": ("drop", "truncate"),
    "metadata": ({"team": "a"}, {"team": "b"}),
    "name": ("one", "two"),
}
ASKED, RED = Message(role="user", content="Which colour?"), Message(role="assistant", content="red")
CALL = ToolCall(id="call-1", function=FunctionCall(name="look", arguments='{"at": "ball"}'))
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
# A conversation, before its last answer, for each part of a row that not every backend can take.
FEATURES: Mapping[Feature, tuple[Message, ...]] = {
    "tools": (
        ASKED,
        Message(role="assistant", tool_calls=(CALL,)),
        Message(role="tool", content="red", tool_call_id="call-1"),
    ),
    "images": (Message(role="user", content=({"type": "image_url", "image_url": {"url": PIXEL}},)),),
    "reasoning": (ASKED, RED.model_copy(update={"reasoning": "It is not blue."}), ASKED),
    "weight": (ASKED, RED.model_copy(update={"weight": 0.0}), ASKED),
    "name": (Message(role="user", content="Which colour?", name="polly"),),
}
METHODS = ("sft", "dpo", "kto", "reinforcement", "distillation", "continued-pretraining")
ADAPTERS = ("lora", "rslora", "dora", "qlora", "full")
KINDS = ("sft", "preference", "prompt_only", "kto", "text")


def check_import_is_light(lab: Lab) -> None:
    """Loading the plugin's package imports none of the packages that the backend requires."""
    module = inspect.getmodule(lab.info.load)
    if module is None or not lab.info.requires:
        return
    code = f"import sys, {module.__name__}; print(*[m for m in {lab.info.requires!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode or done.stdout.strip():
        raise ConformanceError(f"importing {module.__name__} imports {done.stdout.strip() or done.stderr[-300:]}")


def check_signatures(lab: Lab) -> None:
    """Every method of the contract takes what the base class says."""
    for name, method in inspect.getmembers(Backend, inspect.isfunction):
        if name.startswith("_"):
            continue
        wanted = list(inspect.signature(method).parameters)
        found = list(inspect.signature(getattr(type(lab.backend), name)).parameters)
        if wanted != found:
            raise ConformanceError(f"{name} takes {found}, the contract says {wanted}")


def check_plan_is_pure(lab: Lab) -> None:
    """Planning twice gives the same plan, needs no network and writes no file."""
    before = [path for path, _ in lab.written()]
    with no_network():
        first, second = _plan(lab, lab.case.spec), _plan(lab, lab.case.spec)
    if first != second:
        raise ConformanceError("two plans of one job differ")
    if [path for path, _ in lab.written()] != before:
        raise ConformanceError("planning wrote files")


def check_plan_needs_no_sdk(lab: Lab) -> None:
    """Planning works on a machine that has none of the packages that the backend requires."""
    if not lab.info.requires:
        raise Skipped("the backend requires no packages")
    _ = lab.backend
    with without(lab.info.requires):
        try:
            _plan(lab, lab.case.spec)
        except ImportError as error:
            raise ConformanceError(f"planning needs a package that may not be there: {error}") from error


def check_plan_is_json(lab: Lab) -> None:
    """A plan survives being written and read: same payload, same digest."""
    plan = _plan(lab, lab.case.spec)
    again = Plan.model_validate_json(plan.model_dump_json())
    if again.digest != plan.digest or again.payload != plan.payload:
        raise ConformanceError("the plan changes when it is written as JSON and read again")


def check_every_field_is_accounted_for(lab: Lab) -> None:
    """Each field that is set stands in the report, and what the report says was sent is in the payload."""
    for field, (value, _) in SAMPLES.items():
        plan = _plan(lab, with_field(lab.case.spec, field, value))
        line = _line(plan, field)
        if line is None:
            raise ConformanceError(f"{field} was set and is not in the report")
        if line.sent_as is not None and _payload_value(plan, line.sent_as) != line.sent:
            raise ConformanceError(f"{field} is reported as sent, but {line.sent_as} is not in the payload")
        if line.sent_as is None and line.outcome in ("exact", "converted") and not line.reason:
            raise ConformanceError(f"{field} is neither sent nor is it said what honours it")


def check_every_field_has_an_effect(lab: Lab) -> None:
    """Another value of a field changes the payload, unless the report says that nothing is sent of it."""
    for field, (one, other) in SAMPLES.items():
        first, second = (_plan(lab, with_field(lab.case.spec, field, value)) for value in (one, other))
        line = _line(first, field)
        if line is not None and line.sent_as is not None and first.payload == second.payload:
            raise ConformanceError(f"{field} is reported as sent, but {one!r} and {other!r} give the same payload")


def check_fields_match_capabilities(lab: Lab) -> None:
    """A field among `capabilities.fields` is not refused, any other is."""
    for field, (value, _) in SAMPLES.items():
        if field in CORE_FIELDS:
            continue
        lines = [_line(plan, field) for plan in _plans_by_method(lab, field, value)]
        refused = all(line is not None and line.outcome == "refused" for line in lines)
        if refused and field in lab.info.capabilities.fields:
            reason = lines[0].reason if lines[0] else ""
            raise ConformanceError(f"{field} is among the capabilities and refused by every method: {reason}")
        if not refused and field not in lab.info.capabilities.fields:
            raise ConformanceError(f"{field} is not among the capabilities and not refused")


def _plans_by_method(lab: Lab, field: str, value: Any) -> Iterator[Plan]:
    """Plan a field with the case's own job, then with each method: some fields belong to one method only."""
    yield _plan(lab, with_field(lab.case.spec, field, value))
    for method in sorted(lab.info.capabilities.methods):
        kind = next(iter(METHOD_KINDS.get(method, {lab.case.dataset.kind})))
        spec = with_field(with_field(lab.case.spec, "method.type", method), field, value)
        yield lab.backend.plan(spec, small_dataset(kind=kind))


def check_methods_match_capabilities(lab: Lab) -> None:
    """A method or adapter that is declared is planned, any other is refused."""
    can = lab.info.capabilities
    for field, names, declared in (
        ("method.type", METHODS, can.methods),
        ("method.adapter.type", ADAPTERS, can.adapters),
    ):
        for name in names:
            refused = _is_refused(lab, with_field(lab.case.spec, field, name), field)
            if refused == (name in declared):
                said = "declared and refused" if refused else "not declared and not refused"
                raise ConformanceError(f"{field} {name} is {said}")


def check_kinds_match_capabilities(lab: Lab) -> None:
    """Rows of a declared kind are taken by some method, others are refused before anything is sent."""
    for kind in KINDS:
        methods = [m for m in lab.info.capabilities.methods if kind in METHOD_KINDS.get(m, ())]
        specs = [with_field(lab.case.spec, "method.type", method) for method in methods] or [lab.case.spec]
        plans = [lab.backend.plan(spec, small_dataset(kind=kind)) for spec in specs]
        refused = all("data.train" in {line.field for line in plan.refused} for plan in plans)
        if refused == (kind in lab.info.capabilities.dataset_kinds):
            raise ConformanceError(f"{kind} rows are {'declared and refused' if refused else 'taken and not declared'}")


def check_features_match_capabilities(lab: Lab) -> None:
    """Rows with more than role and text are taken where that is declared; a loss is refused or said, as asked."""
    can = lab.info.capabilities
    if "sft" not in can.dataset_kinds:
        raise Skipped("the rows that show it are of kind sft")
    for feature in FEATURES:
        rows = _rows_with(feature)
        strict = lab.backend.plan(with_field(lab.case.spec, "data.lossy", "error"), rows)
        refused = "data.train" in {line.field for line in strict.refused}
        if refused == (feature in can.dataset_features):
            raise ConformanceError(f"rows with {feature} are {'declared and refused' if refused else 'not declared'}")
        told = lab.backend.plan(with_field(lab.case.spec, "data.lossy", "warn"), rows).warnings
        if refused and not any(feature in warning for warning in told):
            raise ConformanceError(f"rows with {feature} lose it and no warning says so")


def _rows_with(feature: Feature, rows: int = 12) -> Dataset:
    """Return some rows that have a feature; as many as services ask for at least."""
    tools = (TOOL,) if feature == "tools" else None
    answers = (Message(role="assistant", content=f"red {number}") for number in range(rows))
    return Dataset(Split(Example(messages=(*FEATURES[feature], answer), tools=tools) for answer in answers))


def check_validation_matches_capabilities(lab: Lab) -> None:
    """Held-out rows are taken where that is declared, and refused otherwise."""
    spec = with_field(lab.case.spec, "data.validation", 0.2)
    plan = lab.backend.plan(spec, small_dataset(kind=lab.case.dataset.kind, validation=True))
    refused = "data.validation" in {line.field for line in plan.refused}
    if refused == lab.info.capabilities.validation_data:
        raise ConformanceError(f"validation rows are {'declared and refused' if refused else 'taken, not declared'}")


def check_unknown_option_is_refused(lab: Lab) -> None:
    """An unknown key in the backend's own section is an error, not silence."""
    values = lab.case.spec.to_json()
    sections = {**values.get("options", {}), lab.info.name: {"no_such_knob": 1}}
    spec = JobSpec.model_validate({**values, "options": sections})
    try:
        plan = _plan(lab, spec)
    except (SpecError, PlanError):
        return
    if not plan.refused:
        raise ConformanceError("options.no_such_knob was accepted")


def check_options_are_accounted_for(lab: Lab) -> None:
    """Each of the backend's own knobs that is set stands in the report."""
    values, schema = lab.case.spec.to_json(), lab.info.options
    if schema is None:
        raise Skipped("the backend has no options")
    given = values.get("options", {})
    for name, field in schema.model_fields.items():
        if field.is_required() or field.get_default(call_default_factory=True) is None:
            continue
        knob = {name: to_jsonable_python(field.get_default(call_default_factory=True))}
        section = {lab.info.name: {**given.get(lab.info.name, {}), **knob}}
        plan = _plan(lab, JobSpec.model_validate({**values, "options": {**given, **section}}))
        line = _line(plan, f"options.{lab.info.name}.{name}")
        if line is None or (line.sent_as and _payload_value(plan, line.sent_as) != line.sent):
            raise ConformanceError(f"options.{lab.info.name}.{name} was set and is lost")


def with_field(spec: JobSpec, path: str, value: Any) -> JobSpec:
    """Return the spec with one field set; what excludes it is taken out."""
    values = spec.to_json()
    *sections, name = path.split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
    target[name] = value
    rates = values.get("hyperparameters", {})
    if name == "learning_rate_multiplier":
        rates.pop("learning_rate", None)
    if value == "full":
        values["method"]["adapter"] = {"type": "full"}
    return JobSpec.model_validate(values)


def _plan(lab: Lab, spec: JobSpec) -> Plan:
    return lab.backend.plan(spec, lab.case.dataset)


def _line(plan: Plan, field: str) -> FieldReport | None:
    return next((line for line in plan.report.fields if line.field == field), None)


def _is_refused(lab: Lab, spec: JobSpec, field: str) -> bool:
    return field in {line.field for line in _plan(lab, spec).refused}


def _payload_value(plan: Plan, path: str) -> Any:
    target: Any = plan.payload
    for part in path.split("."):
        if not isinstance(target, dict) or part not in target:
            return None
        target = target[part]
    return target
