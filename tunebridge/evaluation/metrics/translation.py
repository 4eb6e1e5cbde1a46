"""BLEU and chrF, which are sacrebleu's: from 0 to 100, for single answers and for all together."""

from collections.abc import Sequence
from typing import Any

from tunebridge.errors import EvaluationError, MissingDependency
from tunebridge.evaluation.metrics.row import Metric, MetricRow, Sums


def bleu(*, tokenize: str | None = None, lowercase: bool = False) -> Metric:
    """Return sacrebleu's BLEU; `tokenize` is its (13a, zh, char, intl, none ...), single answers by effective order.

    Languages without spaces need `zh` or `char`. Tokenisers whose model sacrebleu would download are refused.
    """
    made = _sacrebleu()
    offline = [name for name in made.BLEU.TOKENIZERS if not name.startswith(("flores", "sp"))]
    if tokenize is not None and tokenize not in offline:
        raise EvaluationError(f"BLEU has no tokeniser {tokenize!r} here. Choose one of: {', '.join(offline)}.")
    try:
        single, corpus = (made.BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=e) for e in (True, False))
    except (ImportError, RuntimeError) as error:  # ja-mecab and ko-mecab need packages of their own
        said = " ".join(str(error).split())
        raise EvaluationError(f"The tokeniser {tokenize!r} cannot be used here: {said}") from None
    return _metric("bleu", single, corpus)


def chrf(*, word_order: int = 0) -> Metric:
    """Return sacrebleu's chrF; `word_order=2` is chrF++."""
    made = _sacrebleu().CHRF(word_order=word_order)
    return _metric("chrf", made, made)


def _sacrebleu() -> Any:
    try:
        import sacrebleu.metrics
    except ImportError:
        raise MissingDependency("sacrebleu", extra="eval") from None
    return sacrebleu.metrics


def _metric(name: str, single: Any, together: Any) -> Metric:
    def score(output: str, row: MetricRow) -> float:
        return float(single.sentence_score(output, list(row.right_answers)).score)

    def corpus(outputs: Sequence[str], rows: Sequence[MetricRow]) -> dict[str, Any]:
        found = together.corpus_score(list(outputs), _columns(rows))
        return {name: float(found.score), "signature": str(together.get_signature())}

    def sums(outputs: Sequence[str], rows: Sequence[MetricRow]) -> Sums:
        # Not public, but what sacrebleu's own significance tests resample; a test holds its total to `corpus`.
        counts = together._extract_corpus_statistics(list(outputs), _columns(rows))
        return Sums(list(map(tuple, counts)), lambda added: float(together._compute_score_from_stats(added).score))

    return Metric(name, score, corpus_score=corpus, corpus_sums=sums)


def _columns(rows: Sequence[MetricRow]) -> list[list[str | None]]:
    """Return the rows' first references, their second ones ..., None where a row has fewer."""
    answers = [row.right_answers for row in rows]
    return [[row[k] if k < len(row) else None for row in answers] for k in range(max(map(len, answers)))]
