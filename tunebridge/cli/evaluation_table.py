"""An evaluation as a table: on the terminal, as Markdown, and each row's scores as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence

from tunebridge.cli import render
from tunebridge.evaluation.answers import FAILURES
from tunebridge.evaluation.evaluate import Evaluated
from tunebridge.evaluation.pareto import Choice
from tunebridge.evaluation.result import Comparison, Evaluation, ModelResult


def show(found: Evaluation) -> None:
    """Print an evaluation."""
    settings = found.settings
    render.text(f"{found.task.name}: {found.task.rows:,} rows ({found.task.fingerprint[:19]}...)")
    render.table(
        *models_table(found), title=f"\n{settings.primary} decides; means with {settings.confidence:.0%} intervals"
    )
    if found.comparisons:
        render.table(*comparisons_table(found), title=f"\nagainst {settings.baseline}")
    for judge in found.judges:
        render.text(
            f"judge on {judge.model}: both orders agree on {judge.agreeing:.0%} of {judge.pairs - judge.unreadable:,} "
            f"pairs, {judge.first_preferred:.0%} of the verdicts went to the answer read first, "
            f"{judge.unreadable:,} unreadable"
        )
    render.text()
    for comparison in found.primary:
        render.verdict(comparison.verdict, sentence(comparison, settings.baseline))


def sentence(found: Comparison, baseline: str) -> str:
    """Return a comparison's outcome in one sentence, or two where there is no verdict."""
    said = {
        "better": f"{found.model} is better than {baseline}",
        "worse": f"{found.model} is worse than {baseline}",
        "equivalent": f"{found.model} is as good as {baseline} within the margin",
        "inconclusive": f"Whether {found.model} is better than {baseline} cannot be said",
    }[found.verdict]
    span = f"{found.metric} {found.difference:+.4g}, {found.low:+.4g} to {found.high:+.4g}, {found.rows:,} rows"
    needed = f" About {found.rows_needed:,} rows would be needed." if found.rows_needed else ""
    return f"{said} ({span}). {found.reason or ''}{needed}".strip()


def as_markdown(done: Evaluated) -> str:
    """Return the tables and the verdicts as Markdown."""
    found = done.result
    parts = [f"# {_plain(found.task.name)}", f"{found.task.rows:,} rows, `{found.task.fingerprint}`"]
    parts += [f"- {_plain(sentence(comparison, found.settings.baseline))}" for comparison in found.primary]
    for columns, rows in (models_table(found), comparisons_table(found)):
        head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
        parts.append("\n".join([head, *(f"| {' | '.join(map(_plain, row))} |" for row in rows)]))
    return "\n\n".join(parts) + "\n"


def as_csv(done: Evaluated) -> str:
    """Return one line per row and model: id, model, failure, latency, and every metric's score."""
    out = io.StringIO()
    metrics = list(next(iter(done.scored.values())).scores)
    writer = csv.writer(out)
    writer.writerow(["id", "model", "failure", "latency_seconds", "output_tokens", *metrics])
    for name, scored in done.scored.items():
        answers = done.books[name].read(row.key for row in done.plan.task.rows)
        for number, (row, answer) in enumerate(zip(done.plan.task.rows, answers, strict=True)):
            worth = [scored.scores[metric][number] for metric in metrics]
            writer.writerow([row.id, name, answer.failure, answer.latency_seconds, answer.output_tokens, *worth])
    return out.getvalue()


def models_table(found: Evaluation) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return columns and rows of the models: a line for each thing that is known, a column for each model."""
    names = [model.name for model in found.models]
    lines: list[Sequence[str]] = []
    for metric in found.models[0].scores:
        lines.append((metric, *(_score(model, metric) for model in found.models)))
    lines += list(_facts(found.models))
    return ("", *names), lines


def choice_table(found: Choice) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return columns and rows of a choice: a line for each model, the front marked."""
    columns = ("", "model", found.metric, "interval", "USD per 1,000", "latency p50", "failed")
    rows: list[Sequence[str]] = [
        (
            "*" if each.is_on_front else "",
            each.name,
            f"{each.quality.mean:.4g}",
            f"{each.quality.low:.4g} to {each.quality.high:.4g}",
            "no price" if each.usd_per_1000_requests is None else f"{each.usd_per_1000_requests:,.4f}",
            "" if each.latency_p50_seconds is None else f"{each.latency_p50_seconds * 1000:,.0f} ms",
            f"{each.failures:,}",
        )
        for each in found.candidates
    ]
    return columns, rows


def _facts(models: Sequence[ModelResult]) -> Iterator[Sequence[str]]:
    for kind in FAILURES:
        if any(model.failures.get(kind) for model in models):
            yield (kind, *(f"{model.failures.get(kind, 0):,}" for model in models))
    for name, key in (("latency p50", "latency_p50_seconds"), ("latency p95", "latency_p95_seconds")):
        values = [getattr(model, key) for model in models]
        if any(value is not None for value in values):
            yield (name, *("" if value is None else f"{value * 1000:,.0f} ms" for value in values))
    for name, key in (("input tokens", "input_tokens"), ("output tokens", "output_tokens")):
        values = [getattr(model, key) for model in models]
        if any(value is not None for value in values):
            yield (name, *("" if value is None else f"{value:,}" for value in values))
    costs = [model.usd_per_1000_requests for model in models]
    if any(cost is not None for cost in costs):
        yield ("USD per 1,000", *("no price" if cost is None else f"{cost:,.4f}" for cost in costs))


def _score(model: ModelResult, metric: str) -> str:
    found = model.scores[metric]
    return f"{found.mean:.4g} [{found.low:.4g}, {found.high:.4g}]"


def comparisons_table(found: Evaluation) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Return columns and rows: a line for each comparison with the baseline."""
    percent = f"{found.settings.confidence:.0%}"
    columns = ("model", "metric", "difference", f"{percent} interval", "p", "verdict", "rows needed")
    rows: list[Sequence[str]] = [
        (
            each.model,
            each.metric + (" *" if each.is_primary else ""),
            f"{each.difference:+.4g}",
            f"{each.low:+.4g} to {each.high:+.4g}",
            f"{each.p_value if each.p_adjusted is None else each.p_adjusted:.2g}",
            each.verdict,
            f"{each.rows_needed:,}" if each.rows_needed else "",
        )
        for each in found.comparisons
    ]
    return columns, rows


def _plain(text: str) -> str:
    """Return a cell that Markdown takes as text."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
