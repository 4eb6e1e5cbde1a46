"""An evaluation as one web page that needs nothing but itself: no network, and whatever a model said is only text."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

from tunebridge.cli.evaluation_figures import forest, label, scatter, shortened
from tunebridge.cli.evaluation_table import choice_table, comparisons_table, models_table, sentence
from tunebridge.data.rendering.preview import visible
from tunebridge.evaluation.evaluate import Evaluated
from tunebridge.evaluation.pareto import Choice, choice
from tunebridge.evaluation.result import Comparison, Evaluation

MOST_BYTES = 480_000
"""Of the whole page; single rows are left out where there is no room."""
MOST_CHARACTERS = 2_000
"""Of one prompt or answer."""
MOST_LABELS = 20
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{style_hash}';
 script-src '{script_hash}'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer"><title>{title}</title>
<style>{style}</style></head><body>
{body}
<script>{script}</script></body></html>
"""


class Flip(NamedTuple):
    """A row on which a model scores otherwise than the baseline."""

    row: int
    model: str
    before: float
    after: float


def page(done: Evaluated) -> str:
    """Return the page: verdict, differences, confusion, slices, single rows that changed, and the exact settings."""
    found = done.result
    title = f"Did it help? {label(found.task.name, 80)}"
    head = [
        f'<p class="dim">{found.task.rows:,} rows, {label(found.task.fingerprint, 80)}, '
        f"{found.created_at:%Y-%m-%d %H:%M} UTC</p>",
        *(_verdict(comparison, found.settings.baseline) for comparison in found.primary),
        *_tables(found),
        *_forests(found),
        *_plots(choice([found])),
        *_confusion(found),
        *_slices(found),
    ]
    settings = _settings(found)
    room = MOST_BYTES - len(_page(title, [*head, settings]).encode())
    return _page(title, [*head, *_flips(done, room), settings])


def choice_page(found: Choice) -> str:
    """Return the page of a choice between models: the table, and quality against cost and latency."""
    head = f'<p class="dim">{found.rows:,} rows, {label(found.fingerprint, 80)}</p>'
    return _page(f"Which one? {label(found.metric)}", [head, _table(*choice_table(found)), *_plots(found)])


def _page(title: str, parts: Sequence[str]) -> str:
    style, script = _resource("evaluation.css"), _resource("evaluation.js")
    return PAGE.format(
        title=title,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        body="\n".join([f"<h1>{title}</h1>", *parts]),
    )


def flips_of(done: Evaluated) -> list[Flip]:
    """Return the rows that changed on the primary metric, the largest changes first."""
    metric, baseline = done.plan.primary, done.plan.baseline
    before = done.scored[baseline].scores[metric.name]
    found = [
        Flip(number, name, was, score)
        for name, scored in done.scored.items()
        for number, (was, score) in enumerate(zip(before, scored.scores[metric.name], strict=True))
        if score != was
    ]
    return sorted(found, key=lambda flip: (-abs(flip.after - flip.before), flip.row))


def _verdict(comparison: Comparison, baseline: str) -> str:
    said = label(sentence(comparison, baseline), 600)
    return f'<p class="verdict {comparison.verdict}"><span class="word">{comparison.verdict}</span> {said}</p>'


def _tables(found: Evaluation) -> Iterator[str]:
    percent = f"{found.settings.confidence:.0%}"
    yield "<h2>Models</h2>"
    yield f'<p class="dim">Means with {percent} intervals; an answer that failed has the worst score.</p>'
    yield _table(*models_table(found))
    if found.comparisons:
        yield f"<h2>Against {label(found.settings.baseline)}</h2>"
        yield _table(*comparisons_table(found))
        yield '<p class="dim">* decides. p is corrected (Holm) where several comparisons were made together.</p>'
    for judge in found.judges:
        yield (
            f"<p>The judge on {label(judge.model)}: both orders agree on {judge.agreeing:.0%} of "
            f"{judge.pairs - judge.unreadable:,} pairs; {judge.first_preferred:.0%} of its verdicts went to the answer "
            f"read first; {judge.unreadable:,} unreadable.</p>"
        )


def _forests(found: Evaluation) -> Iterator[str]:
    if found.comparisons:
        yield "<h2>Differences</h2>"
    for metric in dict.fromkeys(each.metric for each in found.comparisons):
        some = [each for each in found.comparisons if each.metric == metric]
        margin = found.settings.margin if metric == found.settings.primary else 0.0
        yield f"<h3>{label(metric)}</h3>{forest(some, margin)}"


def _plots(found: Choice) -> Iterator[str]:
    """Yield quality against cost and against latency, each where at least two models are known for it."""
    axes = (("USD per 1,000 requests", "usd_per_1000_requests"), ("latency p50 in seconds", "latency_p50_seconds"))
    for axis, key in axes:
        known = [each for each in found.candidates if getattr(each, key) is not None]
        if len(known) > 1:
            yield f"<h2>{label(found.metric)} against {axis}</h2>"
            yield scatter(known, axis, [getattr(each, key) for each in known])
            yield '<p class="dim">Green: no other model is as good and cheaper or faster (the Pareto front).</p>'


def _confusion(found: Evaluation) -> Iterator[str]:
    metric = next((m for m, said in found.models[0].corpus.items() if "confusion" in said), None)
    if metric is None:
        return
    if len(found.models[0].corpus[metric]["confusion"]["labels"]) > MOST_LABELS + 1:
        yield f'<p class="dim">More than {MOST_LABELS} labels: the confusion is in --json only.</p>'
        return
    yield '<h2>Confusion</h2><p class="dim">Lines are what is right, columns what was answered.</p><div class="side">'
    for model in found.models:
        confusion = model.corpus[metric]["confusion"]
        yield f"<div><h3>{label(model.name)}</h3>{_matrix(confusion['labels'], confusion['counts'])}</div>"
    yield "</div>"


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    head = "".join(f"<th>{label(name, 24)}</th>" for name in labels)
    lines = []
    for name, line in zip(labels, counts, strict=True):
        total = sum(line) or 1
        cells = "".join(f'<td class="h{-(-4 * count // total)}">{count:,}</td>' for count in line)
        lines.append(f"<tr><th>{label(name, 24)}</th>{cells}</tr>")
    return f'<div class="wide"><table class="matrix"><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _slices(found: Evaluation) -> Iterator[str]:
    if not found.slices:
        return
    names = list(found.slices[0].means)
    columns = ["", "rows", *names, *(f"{name} - {found.settings.baseline}" for name in found.slices[0].differences)]
    lines = []
    for part in found.slices:
        means = [f"{part.means[name]:.4g}" for name in names]
        changes = [f"{d.mean:+.4g} [{d.low:+.4g}, {d.high:+.4g}]" for d in part.differences.values()]
        lines.append([f"{part.key} = {part.value}", f"{part.rows:,}", *means, *changes])
    yield f"<h2>Slices</h2><p>{label(found.settings.primary)} by metadata. Of many slices some stand out by chance.</p>"
    yield _table(columns, lines)


def _flips(done: Evaluated, room: int) -> Iterator[str]:
    flips = flips_of(done)
    if len(done.scored) < 2:
        return
    gained = sum(_is_gain(done, flip) for flip in flips)
    yield (
        f'<h2>Rows that changed</h2><p><span class="gained">{gained:,} wrong &rarr; right</span>, '
        f'<span class="lost">{len(flips) - gained:,} right &rarr; wrong</span>'
        f"{'' if done.plan.primary.is_binary else ' (or nearer to it)'}, by {label(done.plan.primary.name)}.</p>"
        '<div class="tools"><input id="find" type="search" placeholder="Search prompts and answers" aria-label="Find">'
        '<select id="which" aria-label="Which rows"><option value="">all</option>'
        '<option value="gained">wrong &rarr; right</option><option value="lost">right &rarr; wrong</option></select>'
        '<span id="count" class="dim"></span></div>'
    )
    shown = 0
    for flip in flips:
        part = _flip(done, flip)
        room -= len(part.encode()) + 1
        if room < 1_000:
            break
        yield part
        shown += 1
    if shown < len(flips):
        yield f'<p class="dim">{len(flips) - shown:,} more have no room here; --csv has every row.</p>'


def _flip(done: Evaluated, flip: Flip) -> str:
    row, baseline = done.plan.task.rows[flip.row], done.plan.baseline
    kind = "gained" if _is_gain(done, flip) else "lost"
    word = "wrong &rarr; right" if kind == "gained" else "right &rarr; wrong"
    boxes = [_box("asked", row.text, "full")]
    if row.references:
        boxes.append(_box("right", " | ".join(row.references), "full"))
    for name, score in ((baseline, flip.before), (flip.model, flip.after)):
        answer = done.books[name][row.key]
        note = f", {answer.failure}" if answer.failure else ""
        boxes.append(_box(f"{name}: {score:.4g}{note}", answer.output or answer.error or ""))
    head = f'<span class="{kind}">{word}</span> {label(flip.model, 40)} <span class="dim">{label(row.id, 60)}</span>'
    return (
        f'<details class="flip" data-kind="{kind}"><summary>{head} {label(row.text, 90)}</summary>'
        f'<div class="pair">{"".join(boxes)}</div></details>'
    )


def _is_gain(done: Evaluated, flip: Flip) -> bool:
    return (flip.after > flip.before) == done.plan.primary.higher_is_better


def _box(title: str, text: str, kind: str = "") -> str:
    body = escape(visible(shortened(text, MOST_CHARACTERS)))
    return f'<div class="{kind}"><h4>{label(title, 80)}</h4><pre dir="auto">{body}</pre></div>'


def _settings(found: Evaluation) -> str:
    exact: Mapping[str, Any] = {
        "task": found.task.model_dump(mode="json"),
        "settings": found.settings.model_dump(mode="json"),
        "models": {model.name: model.identity for model in found.models},
        "expected_half_width": found.expected_half_width,
    }
    text = escape(visible(shortened(json.dumps(exact, indent=2, ensure_ascii=False), 20_000)))
    summary = "<summary>Everything that it takes to repeat this</summary>"
    return f"<h2>Settings</h2><details>{summary}<pre>{text}</pre></details>"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{label(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(text: str) -> str:
    kind = f' class="{text}"' if text in ("better", "worse", "equivalent", "inconclusive") else ""
    return f"<td{kind}>{label(text, 120)}</td>"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _resource(name: str) -> str:
    return files("tunebridge.cli").joinpath(name).read_text(encoding="utf-8")
