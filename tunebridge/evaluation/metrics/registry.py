"""Metrics by name: the built-in ones, those of plugins, and the user's own."""

import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from tunebridge.errors import EvaluationError
from tunebridge.evaluation.metrics import calls, labels, likelihood, rouge, structured, text, translation
from tunebridge.evaluation.metrics.row import Metric, MetricRow, RowScore
from tunebridge.evaluation.names import nearest

Factory = Callable[..., Metric]
OwnScore = Callable[..., float]
"""A user's function: takes (output, reference), or (output, row) where its second parameter is called `row`."""
Own = TypeVar("Own", bound=OwnScore)

BUILT_IN: Mapping[str, Factory] = {
    "exact_match": text.exact_match,
    "token_f1": text.token_f1,
    "contains": text.contains,
    "regex": text.regex,
    "rouge_l": rouge.rouge_l,
    "bleu": translation.bleu,
    "chrf": translation.chrf,
    "accuracy": partial(labels.label_metric, "accuracy"),
    "macro_f1": partial(labels.label_metric, "macro_f1"),
    "json_valid": structured.json_valid,
    "json_schema": structured.json_schema,
    "json_fields": structured.json_fields,
    "tool_calls": calls.tool_calls,
    "perplexity": likelihood.perplexity,
    "bits_per_byte": likelihood.bits_per_byte,
}
logger = logging.getLogger(__name__)

_DECLARED = "__tunebridge_metric__"
_defined: dict[str, Metric] = {}


def metric(name: str, **options: Any) -> Metric:
    """Return the metric of that name, a plugin's, one that `define` declared, or that of `file.py:function`.

    Options are the built-in metric's own; EvaluationError names the nearest metric or the options that there are.
    """
    if name in BUILT_IN:
        return replace(_make(name, BUILT_IN[name], options), options=options)
    path, is_file, function = name.rpartition(".py:")
    found = _from_file(Path(f"{path}.py"), function) if is_file else _defined.get(name) or _from_plugins(name)
    if found is None:
        raise EvaluationError(nearest("metric", name, names()) + " Your own is `file.py:function`.")
    if options:
        raise EvaluationError(f"The metric {name!r} takes no options. Leave out {', '.join(sorted(options))}.")
    return found


def names() -> list[str]:
    """Return the names of all metrics that can be had without a file."""
    return sorted({*BUILT_IN, *_defined, *_plugins_metrics()})


def define(name: str, *, is_binary: bool = False, higher_is_better: bool = True) -> Callable[[Own], Own]:
    """Declare a function of (output, reference), or of (output, row), as the metric of that name."""

    def declare(function: Own) -> Own:
        made = Metric(name, _row_score(function), is_binary=is_binary, higher_is_better=higher_is_better)
        if name in BUILT_IN:
            raise EvaluationError(f"{name!r} is a built-in metric. Give yours another name.")
        _defined[name] = made
        setattr(function, _DECLARED, made)
        return function

    return declare


def _make(name: str, factory: Factory, options: Mapping[str, Any]) -> Metric:
    known = [p for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(options.keys() - {p.name for p in known})
    if unknown:
        there = ", ".join(p.name for p in known) or "none"
        raise EvaluationError(f"The metric {name!r} has no option {unknown[0]!r}. Its options are: {there}.")
    missing = [p.name for p in known if p.default is p.empty and p.name not in options]
    if missing:
        raise EvaluationError(f"The metric {name!r} needs the option {missing[0]!r}. Give it.")
    return factory(**options)


def _row_score(function: OwnScore) -> RowScore:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) > 1 and parameters[1] == "row":
        return function

    def score(output: str, row: MetricRow) -> float:
        return max(function(output, answer) for answer in row.right_answers)

    return score


def _from_file(path: Path, name: str) -> Metric:
    module = _load(path)
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise EvaluationError(nearest(f"function in {path}", name, there))
    declared = getattr(function, _DECLARED, None)
    return declared if isinstance(declared, Metric) else Metric(name, _row_score(function))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tunebridge_own_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise EvaluationError(f"There is no file {path}. Give the path of a Python file, and after a colon a function.")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look for it there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise EvaluationError(f"{path} could not be loaded: {type(error).__name__}: {error}. Mend the file.") from error
    return module


def _from_plugins(name: str) -> Metric | None:
    function = _plugins_metrics().get(name)
    return None if function is None else Metric(name, _row_score(function))


def _plugins_metrics() -> Mapping[str, OwnScore]:
    from tunebridge import plugins  # here, because plugins loads what the core's metrics do not need

    found: dict[str, OwnScore] = {}
    for call in plugins.discover().manager.hook.tunebridge_metrics.get_hookimpls():
        try:
            brought: Any = call.function()
            found |= brought
        except Exception:  # a third party's code may raise anything, and must not stop the others
            logger.warning("the metrics of the plugin %s cannot be had", call.plugin_name, exc_info=True)
    return found
