"""What the service would say of a request, by the models that gradientai 1.13.1 publishes; unknown keys are refused."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _number(low: float, high: float, *, whole: bool = False) -> Check:
    kinds = int if whole else int | float

    def check(value: Any) -> bool:
        return value is None or (isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high)

    return check


def _flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _object(keys: Mapping[str, Check]) -> Check:
    return lambda value: isinstance(value, dict) and problem(value, keys) is None


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(check(one) for one in value)


PART = _object({"value": _text, "trainable": _flag, "parseSpecialTokens": _flag})
MULTIPLIER = _object({"multiplier": _number(1e-300, float("inf"))})
SAMPLE = _object(
    {
        "inputs": lambda value: _text(value) or _list_of(PART)(value),
        "fineTuningParameters": lambda value: value is None or MULTIPLIER(value),
    }
)
CREATE: Mapping[str, Check] = {
    "initialHyperparameters": _object(
        {
            "loraHyperparameters": _object({"rank": _number(1, 32, whole=True)}),
            "trainingArguments": _object({"learningRate": _number(1e-300, 1 - 1e-12)}),
        }
    ),
    "model": _object({"baseModelId": lambda v: bool(re.fullmatch(r".{36}_base_ml_model", str(v))), "name": _text}),
}
FINE_TUNE: Mapping[str, Check] = {"samples": _list_of(SAMPLE)}
COMPLETE: Mapping[str, Check] = {
    "query": _text,
    "autoTemplate": _flag,
    "guidance": lambda value: value is None or isinstance(value, dict),
    "maxGeneratedTokenCount": _number(1, 511, whole=True),
    "rag": lambda value: value is None or isinstance(value, dict),
    "temperature": _number(0, float("inf")),
    "topK": _number(1, float("inf"), whole=True),
    "topP": _number(0, 1),
}


def problem(value: Any, keys: Mapping[str, Check]) -> str | None:
    """Return which key of an object is wrong, None where none is."""
    if not isinstance(value, dict):
        return "an object was expected"
    for key, inner in value.items():
        if key not in keys:
            return f"unknown key {key}"
        if not keys[key](inner):
            return f"{key} is not valid"
    return None
