"""Scores of label answers: pure functions over answers and references in the same order."""

import math
from collections import Counter
from collections.abc import Sequence


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
    labels = sorted(set(references))
    return sum(_f1(label, stripped, references) for label in labels) / len(labels)


def _f1(label: str, answers: Sequence[str], references: Sequence[str]) -> float:
    hits = sum(a == label and r == label for a, r in zip(answers, references, strict=True))
    said, true = sum(a == label for a in answers), sum(r == label for r in references)
    return 2 * hits / (said + true)


def majority(train_labels: Sequence[str], references: Sequence[str]) -> tuple[str, float]:
    """Return the most frequent training label and the accuracy of always answering it."""
    label = max(Counter(train_labels).items(), key=lambda item: (item[1], item[0]))[0]
    return label, accuracy([label] * len(references), references)


def wilson_interval(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval that covers the true share in 95 % of samples of `count` rows (Wilson 1927)."""
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - half) / scale, (centre + half) / scale
