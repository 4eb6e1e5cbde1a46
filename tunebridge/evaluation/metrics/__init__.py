"""Scores of models' answers, by name: `metric("token_f1").score(output, row)`."""

from tunebridge.evaluation.metrics.labels import accuracy, classification_report, confusion, macro_f1, majority
from tunebridge.evaluation.metrics.registry import define, metric, names
from tunebridge.evaluation.metrics.row import Metric, MetricRow
from tunebridge.evaluation.statistics.proportions import wilson_interval

__all__ = [
    "Metric",
    "MetricRow",
    "accuracy",
    "classification_report",
    "confusion",
    "define",
    "macro_f1",
    "majority",
    "metric",
    "names",
    "wilson_interval",
]
