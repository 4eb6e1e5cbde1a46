"""Everything that is printed: results on stdout, progress and messages on stderr."""

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from tunebridge.data.engine.collect import Report
from tunebridge.data.problems import Problem
from tunebridge.data.writing.losses import RowsReport
from tunebridge.job import Artifact, Event, Job, Metric
from tunebridge.plan import Plan

OUTCOME_STYLE = {"exact": "green", "converted": "yellow", "dropped": "magenta", "refused": "bold red", "default": "dim"}
STATUS_STYLE = {
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "unknown": "yellow",
    "paused": "yellow",
}
BARS = "▁▂▃▄▅▆▇█"
PLAIN_PROGRESS_STEPS = 10
"""Lines of progress where stderr is no terminal."""

_out = Console(highlight=False, soft_wrap=False)
_err = Console(stderr=True, highlight=False)


def document(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def line(value: Any) -> None:
    """Print one JSON object on a line of its own."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """Return a value as plain JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(vars(value))
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        inner = [plain(item) for item in value]
        return sorted(inner) if isinstance(value, set | frozenset) else inner
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def text(message: str = "") -> None:
    """Print text on stdout as it is."""
    _out.print(escape(message), soft_wrap=True)


def has_colour() -> bool:
    """Whether stdout shows colours."""
    return _out.color_system is not None


def styled(message: Text) -> None:
    """Print text with styles of its own on stdout."""
    _out.print(message, soft_wrap=True)


def raw(message: str) -> None:
    """Print a model's answer or a file on stdout, without any formatting; control characters are shown as such."""
    safe = "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in message)
    sys.stdout.write(safe + "\n")


def headline(message: str) -> None:
    """Print the title of a step."""
    _out.print(f"\n[bold]{escape(message)}[/bold]")


def note(message: str) -> None:
    """Print a remark on stderr."""
    _err.print(escape(message), soft_wrap=True)


def warning(message: str) -> None:
    """Print a warning on stderr."""
    _err.print(f"[yellow]warning:[/yellow] {escape(message)}", soft_wrap=True)


def error(message: str) -> None:
    """Print an error on stderr."""
    _err.print(f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True)


def trace(problem: BaseException) -> None:
    """Print an error's traceback on stderr."""
    _err.print("".join(traceback.format_exception(problem)), markup=False, soft_wrap=True)


def source(code: str, language: str) -> None:
    """Print a file with its syntax coloured."""
    _out.print(Syntax(code.rstrip(), language, background_color="default", word_wrap=True))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table; cells are text, not markup."""
    grid = _grid(*columns, title=title)
    for row in rows:
        grid.add_row(*(escape(cell) for cell in row))
    _out.print(grid)


def plan(made: Plan, *, defaults: bool = True) -> None:
    """Print a plan: what becomes of each field."""
    _out.print(f"[bold]{escape(made.backend)}[/bold]: {escape(made.base_model)}, {_rows(made)}")
    grid = _grid()
    grid.add_column("field", no_wrap=True)
    grid.add_column("outcome", no_wrap=True)
    grid.add_column("sent", overflow="fold")
    grid.add_column("why", style="dim")
    for report in made.report.fields:
        if report.outcome == "default" and not defaults:
            continue
        style = OUTCOME_STYLE[report.outcome]
        sent = f"{report.sent_as} = {short(report.sent, 40)}" if report.sent_as else short(report.value, 40)
        grid.add_row(escape(report.field), f"[{style}]{report.outcome}[/{style}]", escape(sent), escape(report.reason))
    _out.print(grid)
    if made.rows is not None:
        text(_losses(made.rows))
    for message in made.warnings:
        warning(message)
    _out.print(f"[dim]plan {made.digest}[/dim]")


def checked(report: Report, found: Sequence[Problem], target: RowsReport | None) -> None:
    """Print what was found in files of rows: what they are, each error, then one line for each code."""
    for file, shape in report.formats.items():
        text(f"{file}: read as {shape}")
    kinds = ", ".join(f"{count:,} {name}" for name, count in report.kinds.items()) or "no"
    text(f"{kinds} rows" + (f", {report.rejected:,} wrong" if report.rejected else ""))
    if report.blank_lines:
        text(f"{report.blank_lines:,} blank lines were skipped")
    if report.metadata_keys:
        keys = ", ".join(f"{key} ({count:,})" for key, count in report.metadata_keys.items())
        text(f"kept as metadata: {keys}")
    if target is not None:
        text(_losses(target))
    problems([problem for problem in found if problem.severity == "error"])
    _code_table(report, found)


def _losses(rows: RowsReport) -> str:
    lost = f"{rows.lossy_rows:,} with a loss, {rows.refused_rows:,} refused"
    return f"{rows.target}: {rows.exact:,} of {rows.rows:,} rows exact, {lost}"


def _code_table(report: Report, found: Sequence[Problem]) -> None:
    """Print one line for each code: how often, where first, what, and what to do."""
    first: dict[str, Problem] = {}
    for problem in found:
        first.setdefault(problem.code, problem)
    grid = _grid("code", "count", "first", "what", "what to do")
    for code, problem in sorted(first.items()):
        style = "red" if problem.severity == "error" else "yellow"
        count = report.counts.get(code, sum(other.code == code for other in found))
        place = f"{problem.file or ''}:{problem.line}" if problem.line else problem.file or ""
        grid.add_row(f"[{style}]{code}[/{style}]", f"{count:,}", *map(escape, (place, problem.message, problem.fix)))
    _out.print(grid if first else "[green]nothing is wrong[/green]")


def problems(found: Sequence[Problem]) -> None:
    """Print what is wrong with the rows."""
    for problem in found:
        style = "red" if problem.severity == "error" else "yellow"
        _out.print(f"[{style}]{problem.severity}[/{style}] {escape(str(problem))}", soft_wrap=True)


def job_table(jobs: Sequence[Job]) -> None:
    """Print jobs as a table."""
    grid = _grid()
    grid.add_column("job", no_wrap=True, min_width=len("tb-20261125-041618-xkfqbf"))  # an id is there to be copied
    for name in ("status", "backend", "model", "name", "created"):
        grid.add_column(name)
    for job in jobs:
        name = f"{job.name or ''}{' (rehearsal)' if job.rehearsal else ''}"
        created = f"{job.created_at.astimezone():%Y-%m-%d %H:%M}"
        grid.add_row(job.id, status(job), job.backend, escape(job.base_model), escape(name), created)
    _out.print(grid if jobs else "No jobs yet. `tunebridge quickstart` makes one.")


def job(found: Job, metrics: Sequence[Metric], artifacts: Sequence[Artifact]) -> None:
    """Print everything worth knowing of a job."""
    pairs = {
        "job": found.id,
        "status": str(found.status) + (f" ({found.backend_status})" if found.status == "unknown" else ""),
        "backend": f"{found.backend}{' (a rehearsal)' if found.rehearsal else ''}, its id {found.backend_id}",
        "model": found.base_model,
        "created": _moment(found.created_at),
        "finished": _moment(found.finished_at),
        "tokens trained": f"{found.usage.trained_tokens:,}" if found.usage.trained_tokens else "",
        "training time": _duration(found.usage.training_seconds),
        "plan": found.plan_digest,
        "data": found.data_fingerprint,
        "folder": str(found.folder),
        "endpoint": f"{found.deployment.name} ({found.deployment.backend_status}); it bills"
        if found.deployment
        else "",
        "error": found.error or "",
    }
    for name, value in pairs.items():
        if value:
            _out.print(f"[dim]{name:>15}[/dim]  {escape(value)}", soft_wrap=True)
    for name, values in by_name(metrics).items():
        _out.print(f"[dim]{name:>15}[/dim]  {curve(values)}  {values[0]:.4g} -> {values[-1]:.4g}", soft_wrap=True)
    for artifact in artifacts:
        _out.print(f"[dim]{artifact.kind:>15}[/dim]  {escape(artifact.uri)}", soft_wrap=True)


def status(job: Job) -> str:
    """Return a job's status with its colour, as markup."""
    style = STATUS_STYLE.get(job.status, "cyan")
    return f"[{style}]{job.status}[/{style}]"


def event(number: int, happened: Event) -> None:
    """Print one event on stdout."""
    stamp = f"{happened.at.astimezone():%H:%M:%S}"
    style = {"error": "red", "warning": "yellow", "status": "bold"}.get(happened.kind, "")
    message = escape(happened.message)
    _out.print(
        f"[dim]{number:>5} {stamp}[/dim] {f'[{style}]{message}[/{style}]' if style else message}", soft_wrap=True
    )


def by_name(metrics: Sequence[Metric]) -> dict[str, list[float]]:
    """Return the values of each metric by step."""
    values: dict[str, list[float]] = {}
    for metric in metrics:
        values.setdefault(metric.name, []).append(metric.value)
    return values


def curve(values: Sequence[float], width: int = 40) -> str:
    """Return a small curve of block characters."""
    picked = [values[i * len(values) // width] for i in range(width)] if len(values) > width else list(values)
    low, high = min(picked), max(picked)
    return "".join(BARS[round((value - low) / (high - low) * 7) if high > low else 0] for value in picked)


def short(value: Any, most: int = 60) -> str:
    """Return a value on one line, cut where it is long."""
    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return written if len(written) <= most else written[: most - 1] + "…"


class Bar:
    """Progress of a job: a live bar on a terminal, a line now and then elsewhere."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._next_line = 0.0
        self._word = ""
        self._progress: Progress | None = None
        if _err.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(),
                console=_err,
            )
            self._task = self._progress.add_task(description, total=None, detail="")

    def state(self, word: str) -> None:
        """Show in which state the job is."""
        if word == self._word:
            return
        self._word = word
        if self._progress:
            self._progress.update(self._task, description=word)
        else:
            note(f"{self._description}: {word}")

    def step(self, done: int, total: int, detail: str) -> None:
        """Show how far the job is."""
        if self._progress:
            self._progress.update(self._task, completed=done, total=total, detail=detail)
        elif done >= self._next_line or done == total:
            note(f"{self._description}: {done}/{total} {detail}")
            self._next_line = done + total / PLAIN_PROGRESS_STEPS

    @contextmanager
    def shown(self) -> Iterator["Bar"]:
        """Show the bar for as long as the block runs."""
        if self._progress is None:
            yield self
            return
        with self._progress:
            yield self


@contextmanager
def reading(description: str, *, quiet: bool = False) -> Iterator[Callable[[int, int | None], None] | None]:
    """Give what shows how far big files are read; nothing where stderr is no terminal."""
    if quiet or not _err.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=_err, transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """Show that something takes a moment."""
    if not _err.is_terminal:
        note(message)
        yield
        return
    with _err.status(escape(message)):
        yield


def _grid(*columns: str, title: str | None = None) -> Table:
    return Table(
        *columns, title=title, title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )


def _rows(made: Plan) -> str:
    held_out = f", {made.data.validation_rows:,} for validation" if made.data.validation_rows else ""
    return f"{made.data.train_rows:,} {made.data.kind} rows to train on{held_out}"


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
