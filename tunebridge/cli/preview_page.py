"""A row as the model sees it: for the terminal, and as a web page that needs nothing but itself."""

from html import escape

from rich.text import Text

from tunebridge.data.rendering.preview import Preview, RowPreview, Span, visible

MOST_CHARACTERS = 1200
"""Of one span on the terminal; the page, and --json, have all of it."""
STYLES = {"trained": "not bold black on green", "prompt": "not bold", "cut": "not bold dim strike"}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Preview</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #ccc; border-radius: 6px; padding: 1em }}
.trained {{ background: #b6ecc1 }} .cut {{ text-decoration: line-through; opacity: .5 }}
.warning {{ color: #8a5a00 }} .error {{ color: #b00020 }}
</style></head><body>
<h1>{title}</h1>
<p><span class="trained">Trained tokens</span>, <span>tokens that are only read</span>,
<span class="cut">tokens behind max_length {max_length}</span>.</p>
{problems}
{rows}
</body></html>
"""


def shown(row: RowPreview, max_length: int, *, with_marks: bool = False) -> Text:
    """Return a row with its trained tokens coloured, and in brackets `with_marks`; it cannot command a terminal."""
    text = Text(f"\n{_title(row, max_length)}\n", style="bold")
    for number, span in enumerate(row.spans):
        if span.is_cut and not row.spans[number - 1].is_cut:
            text.append(f" ✂ max_length {max_length} ", style="not bold red")
        piece = visible(_shortened(span.text))
        marked = f"⟦{piece}⟧" if with_marks and _fate(span) == "trained" else piece
        text.append(marked, style=STYLES[_fate(span)])
    return text


def page(preview: Preview) -> str:
    """Return the web page of a preview."""
    rows = "\n".join(_section(row, preview.max_length) for row in preview.rows)
    problems = "\n".join(f'<p class="{p.severity}">{escape(visible(str(p)))}</p>' for p in preview.problems)
    title = escape(f"As {visible(preview.model)} sees the rows")
    return PAGE.format(title=title, max_length=preview.max_length, problems=problems, rows=rows)


def _section(row: RowPreview, max_length: int) -> str:
    spans = "".join(f'<span class="{_fate(span)}">{escape(visible(span.text))}</span>' for span in row.spans)
    return f"<h2>{escape(_title(row, max_length))}</h2>\n<pre>{spans}</pre>"


def _title(row: RowPreview, max_length: int) -> str:
    cut = f", {row.cut_tokens:,} cut at {max_length:,}" if row.cut_tokens else ""
    answer = f", {row.answer} answer" if row.answer else ""
    return f"Line {row.line}{answer}: {row.tokens:,} tokens, {row.trained_tokens:,} trained{cut}"


def _fate(span: Span) -> str:
    if span.is_cut:
        return "cut"
    return "trained" if span.is_trained else "prompt"


def _shortened(text: str) -> str:
    hidden = len(text) - MOST_CHARACTERS
    if hidden <= 0:
        return text
    return f"{text[: MOST_CHARACTERS * 2 // 3]} [... {hidden:,} characters ...] {text[-MOST_CHARACTERS // 3 :]}"
