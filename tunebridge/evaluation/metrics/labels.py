"""Scores of label answers: accuracy, F1, and which labels are taken for which."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tunebridge.evaluation.metrics.normalisers import normaliser
from tunebridge.evaluation.metrics.row import Metric, MetricRow, Sums
from tunebridge.evaluation.names import listed

OTHER = "(no label)"
"""Column of a confusion matrix for answers that are none of the labels."""


def accuracy(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return the share of answers that equal their reference, white space around them aside."""
    pairs = list(zip(answers, references, strict=True))
    return sum(answer.strip() == reference for answer, reference in pairs) / len(pairs)


def macro_f1(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return the mean over the references' labels of F1 = 2 TP / (2 TP + FP + FN).

    An answer that is no label counts as a miss of its reference's label, as in scikit-learn's `f1_score` with
    `labels` set to those of the references.
    """
    stripped = [answer.strip() for answer in answers]
    return float(classification_report(stripped, references)["macro avg"]["f1-score"])


def majority(train_labels: Sequence[str], references: Sequence[str]) -> tuple[str, float]:
    """Return the most frequent training label and the accuracy of always answering it."""
    label = max(Counter(train_labels).items(), key=lambda item: (item[1], item[0]))[0]
    return label, accuracy([label] * len(references), references)


def classification_report(
    answers: Sequence[str], references: Sequence[str], labels: Sequence[str] = ()
) -> dict[str, Any]:
    """Return precision, recall, F1 and support by label and their averages, keyed as scikit-learn's report.

    `labels` are those of the references where none are given. An answer that is no label is a miss of its
    reference's label and no false alarm of another; then `micro avg` differs from `accuracy`.
    """
    labels = labels or sorted(set(references))
    hits = Counter(r for a, r in zip(answers, references, strict=True) if a == r)
    said, true = Counter(answers), Counter(references)
    report: dict[str, Any] = {label: _line(hits[label], said[label], true[label]) for label in labels}
    lines = list(report.values())
    report["accuracy"] = sum(hits.values()) / len(references)
    report["micro avg"] = _line(*(sum(counts[label] for label in labels) for counts in (hits, said, true)))
    report["macro avg"] = _average(lines, [1] * len(lines))
    report["weighted avg"] = _average(lines, [line["support"] for line in lines])
    return report


def _line(hits: int, said: int, true: int) -> dict[str, float]:
    return {
        "precision": hits / said if said else 0.0,
        "recall": hits / true if true else 0.0,
        "f1-score": 2 * hits / (said + true) if said + true else 0.0,
        "support": true,
    }


def _average(lines: Sequence[dict[str, float]], weights: Sequence[float]) -> dict[str, float]:
    total = sum(weights) or 1
    means = {
        key: sum(line[key] * weight for line, weight in zip(lines, weights, strict=True)) / total
        for key in ("precision", "recall", "f1-score")
    }
    return {**means, "support": sum(line["support"] for line in lines)}


def confusion(
    answers: Sequence[str], references: Sequence[str], labels: Sequence[str] = ()
) -> tuple[list[str], list[list[int]]]:
    """Return the labels and how often each (line) was answered as each (column); OTHER is last where it is needed.

    Nothing is left out: answers that are no label, and references that `labels` lacks, are counted under OTHER.
    """
    labels = list(labels or sorted(set(references)))
    if not {*answers, *references} <= {*labels}:
        labels.append(OTHER)
    place = {label: number for number, label in enumerate(labels)}
    table = [[0] * len(labels) for _ in labels]
    for answer, reference in zip(answers, references, strict=True):
        table[place.get(reference, len(labels) - 1)][place.get(answer, len(labels) - 1)] += 1
    return labels, table


def label_metric(name: str, *, normalise: str = "strip", labels: str | Sequence[str] = ()) -> Metric:
    """Return a metric whose rows score 1 for the right label and whose corpus score holds report and confusion."""
    same = normaliser(normalise)
    known = [same(label) for label in listed(labels)]

    def right(row: MetricRow) -> str:
        return same(row.right_answers[0])

    def corpus(outputs: Sequence[str], rows: Sequence[MetricRow]) -> dict[str, Any]:
        answers, references = [same(output) for output in outputs], [right(row) for row in rows]
        report = classification_report(answers, references, known)
        value = report["macro avg"]["f1-score"] if name == "macro_f1" else report["accuracy"]
        names, table = confusion(answers, references, known)
        return {name: value, "report": report, "confusion": {"labels": names, "counts": table}}

    def sums(outputs: Sequence[str], rows: Sequence[MetricRow]) -> Sums:
        return _f1_sums([same(output) for output in outputs], [right(row) for row in rows], known)

    return Metric(
        name,
        lambda output, row: float(same(output) == right(row)),
        is_binary=name == "accuracy",
        corpus_score=corpus,
        corpus_sums=sums if name == "macro_f1" else None,
    )


def _f1_sums(answers: Sequence[str], references: Sequence[str], labels: Sequence[str]) -> Sums:
    """Return hits, answers and references by label, whose sums give macro F1."""
    labels = labels or sorted(set(references))
    size = len(labels)

    def counts(answer: str, reference: str) -> tuple[float, ...]:
        said, true = [float(label == answer) for label in labels], [float(label == reference) for label in labels]
        return (*(a * b for a, b in zip(said, true, strict=True)), *said, *true)

    def value(added: Sequence[float]) -> float:
        hits, said, true = added[:size], added[size : 2 * size], added[2 * size :]
        return sum(2 * h / (s + t) if s + t else 0.0 for h, s, t in zip(hits, said, true, strict=True)) / size

    known = {pair: counts(*pair) for pair in set(zip(answers, references, strict=True))}
    return Sums([known[pair] for pair in zip(answers, references, strict=True)], value)
