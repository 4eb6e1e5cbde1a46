"""tunebridge jobs: what became of what was submitted."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunebridge.cli.options import After, JobId, Json, Timeout

if TYPE_CHECKING:
    from tunebridge.client import Client
    from tunebridge.job import Event, Job

app = typer.Typer(help="Follow, stop, resume and collect jobs.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog="Example: tunebridge jobs list --json")
def list_(
    refresh: Annotated[bool, typer.Option(help="Ask the backends about jobs that have not ended.")] = True,
    as_json: Json = False,
) -> None:
    """List all jobs, newest first."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    jobs = Client().list(refresh=refresh)
    render.document({"jobs": jobs}) if as_json else render.job_table(jobs)


@app.command(epilog="Example: tunebridge jobs show last")
def show(job: JobId, as_json: Json = False) -> None:
    """Show everything that is known of a job."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    client = Client()
    found = client.get(job)
    metrics, artifacts = client.metrics(found.id), client.store.artifacts(found.id)
    if as_json:
        render.document({**found.model_dump(mode="json"), "metrics": metrics, "artifacts": artifacts})
    else:
        render.job(found, metrics, artifacts)


@app.command(epilog="Example: tunebridge jobs watch last")
def watch(job: JobId, after: After = 0, timeout: Timeout = None, as_json: Json = False) -> None:
    """Follow a job to its end, from any terminal; with --json one event per line."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    client = Client()
    if as_json:
        for number, happened in client.watch(job, after=after, timeout_seconds=timeout):
            render.line({"number": number, **happened.model_dump(mode="json")})
        _leave(client.get(job, refresh=False))
    else:
        show_end(client, end(client, job, after=after, timeout=timeout), as_json=False)


@app.command(epilog="Example: tunebridge jobs logs last --follow")
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    after: After = 0,
    as_json: Json = False,
) -> None:
    """Print a job's events."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    client = Client()
    client.get(job)
    for number, happened in client.watch(job, after=after) if follow else client.events(job, after=after):
        if as_json:
            render.line({"number": number, **happened.model_dump(mode="json")})
        else:
            render.event(number, happened)


@app.command(epilog="Example: tunebridge jobs wait last --timeout 600")
def wait(job: JobId, timeout: Timeout = None, as_json: Json = False) -> None:
    """Wait for a job's end without printing its progress; exit code 1 when it did not succeed."""
    from tunebridge.client import Client

    client = Client()
    show_end(client, end(client, job, timeout=timeout, quiet=True), as_json=as_json)


@app.command(epilog="Example: tunebridge jobs cancel last")
def cancel(job: JobId, as_json: Json = False) -> None:
    """Ask the backend to stop a job; a local job keeps its checkpoint."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    found = Client().cancel(job)
    if as_json:
        render.document(found)
    elif found.status.is_terminal:
        render.text(f"{found.id} had {found.status} already; there is nothing to stop.")
    else:
        render.text(f"{found.id} is asked to stop. See it stop with: tunebridge jobs watch {found.id}")


@app.command(epilog="Example: tunebridge jobs pause last")
def pause(job: JobId, as_json: Json = False) -> None:
    """Ask the backend to stop a job for now, where it offers that; resume goes on with it."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    found = Client().pause(job)
    render.document(found) if as_json else render.text(
        f"{found.id} is asked to pause: tunebridge jobs watch {found.id}"
    )


@app.command(epilog="Example: tunebridge jobs resume last")
def resume(job: JobId, as_json: Json = False) -> None:
    """Go on with a paused, failed or cancelled job from its last checkpoint."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    found = Client().resume(job)
    render.document(found) if as_json else render.text(f"{found.id} goes on: tunebridge jobs watch {found.id}")


@app.command(epilog="Example: tunebridge jobs artifacts last --json")
def artifacts(job: JobId, as_json: Json = False) -> None:
    """List the results of a job."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    found = Client().artifacts(job)
    if as_json:
        render.document({"artifacts": found})
    else:
        render.table(("kind", "size", "where"), [(a.kind, f"{(a.size_bytes or 0) / 1e6:.1f} MB", a.uri) for a in found])


@app.command(epilog="Example: tunebridge jobs download last ./tuned")
def download(
    job: JobId,
    folder: Annotated[Path, typer.Argument(help="Folder to copy the results into.")],
    as_json: Json = False,
) -> None:
    """Copy a job's results into a folder, checked by digest."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    paths = Client().download(job, folder)
    render.document({"files": paths}) if as_json else render.text("\n".join(str(path) for path in paths))


@app.command(epilog="Example: tunebridge jobs reconcile")
def reconcile(as_json: Json = False) -> None:
    """Settle jobs whose submission was cut off, and list remote jobs that this store does not know."""
    from tunebridge.cli import render
    from tunebridge.client import Client

    done = Client().reconcile()
    if as_json:
        render.document(vars(done))
        return
    for job in done.settled:
        render.text(f"{job.id} is {job.status}")
    for job_id, reason in done.failed.items():
        render.warning(f"{job_id} is still unsettled: {reason}")
    for backend, ids in done.foreign.items():
        for backend_id in ids:
            render.text(f"{backend} has {backend_id}, which no job here stands for")
    if not (done.settled or done.failed):
        render.text("Every job is settled.")


def end(client: "Client", job_id: str, *, after: int = 0, timeout: float | None = None, quiet: bool = False) -> "Job":
    """Follow a job to its end, with a bar unless quiet, and return it."""
    from tunebridge.cli import render
    from tunebridge.cli.stopping import interrupted_as

    found = client.get(job_id, refresh=False)
    bar = render.Bar(found.id)
    with interrupted_as(
        f"Job {found.id} goes on. Follow it with `tunebridge jobs watch {found.id}`, "
        f"or stop it with `tunebridge jobs cancel {found.id}`.",
        job_id=found.id,
    ):
        events = client.watch(found.id, after=after, timeout_seconds=timeout)
        with nullcontext() if quiet else bar.shown():
            for _, happened in events:
                if not quiet:
                    _show_progress(bar, happened)
    return client.get(found.id, refresh=False)


def show_end(client: "Client", job: "Job", *, as_json: bool) -> None:
    """Print how a job ended and leave with exit code 1 unless it succeeded."""
    from tunebridge.cli import render

    metrics, artifacts = client.metrics(job.id), client.store.artifacts(job.id)
    if as_json:
        newest = {metric.name: metric.value for metric in metrics}
        render.document({**job.model_dump(mode="json"), "metrics": newest, "artifacts": artifacts})
    else:
        render.job(job, metrics, artifacts)
    _leave(job, quiet=as_json)


def _show_progress(bar: "object", happened: "Event") -> None:
    from tunebridge.cli import render

    assert isinstance(bar, render.Bar)
    data = happened.data
    if happened.kind == "progress" and "step" in data:
        speed = f" {data['tokens_per_second']:,} tokens/s" if data.get("tokens_per_second") else ""
        bar.step(data["step"], data["total_steps"], f"loss {data['loss']:.3f}{speed}")
    elif happened.kind == "status" and "status" in data:
        bar.state(str(data["status"]))
    elif happened.kind in ("warning", "error"):
        render.warning(happened.message)


def _leave(job: "Job", *, quiet: bool = True) -> None:
    from tunebridge.cli import render
    from tunebridge.client import failure

    if job.status != "succeeded":
        if not quiet:
            render.error(str(failure(job)))
        raise typer.Exit(1)
