"""The quickstart as a person sees it: each step with a headline, the numbers at the end."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunebridge import quickstart as material
from tunebridge.backend import GenerationParameters
from tunebridge.cli import render
from tunebridge.cli.evaluation_page import page
from tunebridge.cli.evaluation_table import sentence
from tunebridge.cli.jobs import end
from tunebridge.client import Client, failure
from tunebridge.errors import SpecError
from tunebridge.evaluation.evaluate import Evaluated
from tunebridge.evaluation.request import BASE, TUNED, Request
from tunebridge.evaluation.result import Comparison
from tunebridge.job import Job
from tunebridge.quickstart import Entry, Score
from tunebridge.spec import DataSpec

PAGE_FILE = "report.html"
NEXT = """\
tunebridge jobs show {job}
tunebridge evaluate {job} --data {folder}/test.jsonl --metric accuracy --max-tokens 12
tunebridge generate {job} "Fix a crash in the Tk text widget when the settings dialog is closed."
tunebridge plan {folder}/job.yaml --set method.adapter=full      the same job, every weight trained
tunebridge plan {folder}/job.yaml --backend NAME                 the same job elsewhere: `tunebridge backends`
tunebridge jobs download {job} ./tuned                           the adapter, for PEFT or vLLM"""


def run(folder: Path, *, full: bool, seed: int, reuse: bool, as_json: bool) -> None:
    """Run the quickstart and print its result."""
    if (folder / "job.yaml").exists() and not reuse:
        raise SpecError(f"{folder} has a job file already. Pass --yes to use the folder, or --folder for another one.")
    say = _silent if as_json else render.headline
    client = Client()
    parts = material.split(material.load_entries(full=full))
    say("1. Real rows: to which area of CPython does a changelog entry belong?")
    job_file = material.write(folder, parts, full=full, seed=seed)
    checked = client.rows.check(
        DataSpec(train=str(folder / "train.jsonl"), validation=str(folder / "validation.jsonl"))
    )
    if not as_json:
        _show_rows(parts)
        render.checked(checked.report, checked.problems, None)
        say(f"2. The job file, {job_file}")
        render.source(job_file.read_text(), "yaml")
    say("3. The plan: what the local backend makes of it")
    made = client.plan(job_file)
    if not as_json:
        render.plan(made, defaults=False)
    say("4. Training on this machine")
    job = _train(client, job_file, quiet=as_json)
    say(f"5. Base and tuned model on {len(parts['test'])} rows that neither has seen")
    result = _compare(client, job, parts, folder)
    (folder / "results.json").write_text(json.dumps(render.plain(result), indent=2) + "\n")
    if as_json:
        render.document(result)
    else:
        _show_result(result)
        say("Try next")
        render.text(NEXT.format(job=job.id, folder=folder))


def _train(client: Client, job_file: Path, *, quiet: bool) -> Job:
    submitted = client.submit(job_file, again=True)
    job = end(client, submitted.id, quiet=quiet)
    if job.status != "succeeded":
        raise failure(job)
    return job


def _compare(client: Client, job: Job, parts: dict[str, list[Entry]], folder: Path) -> dict[str, Any]:
    done = _evaluate(client, job, folder)
    (folder / PAGE_FILE).write_text(page(done), encoding="utf-8")
    test = parts["test"]
    base, tuned = (
        [answer.output.strip() for answer in done.books[name].read(row.key for row in done.plan.task.rows)]
        for name in (BASE, TUNED)
    )
    scores = [
        material.majority_score(parts["train"], test),
        material.score("base model", base, test),
        material.score("tuned model", tuned, test),
    ]
    (comparison,) = done.result.primary
    return {
        "job": job.id,
        "rows": {name: len(entries) for name, entries in parts.items()},
        "training_seconds": job.usage.training_seconds,
        "trained_tokens": job.usage.trained_tokens,
        "scores": [asdict(score) for score in scores],
        "samples": material.samples(test, base, tuned),
        "comparison": comparison.model_dump(mode="json"),
        "report": str(folder / PAGE_FILE),
    }


def _evaluate(client: Client, job: Job, folder: Path) -> Evaluated:
    """Ask both models the rows that neither has seen, as `tunebridge evaluate JOB` does."""
    request = Request(
        data=folder / "test.jsonl",
        job=job.id,
        metrics=("accuracy",),
        parameters=GenerationParameters(max_tokens=material.MAX_ANSWER_TOKENS),
    )
    with render.waiting("base and tuned model answer ..."):
        return client.evaluations.evaluate(client.evaluations.plan(request))


def _show_rows(parts: dict[str, list[Entry]]) -> None:
    areas = sorted({entry.area for entries in parts.values() for entry in entries})
    counts = ", ".join(f"{len(entries):,} {name}" for name, entries in parts.items())
    render.text(f"{counts} rows; areas: {', '.join(areas)}")
    example = min((entry for entry in parts["train"] if len(entry.text) > 60), key=lambda entry: len(entry.text))
    render.text(f"such as: {example.text!r} -> {example.area}")


def _show_result(result: dict[str, Any]) -> None:
    scores = [Score(**score) for score in result["scores"]]
    render.table(
        ("", "accuracy", "95 % interval", "macro F1"),
        [(s.name, f"{s.accuracy:.1%}", f"{s.low:.1%} to {s.high:.1%}", f"{s.macro_f1:.2f}") for s in scores],
    )
    comparison = Comparison.model_validate(result["comparison"])
    render.verdict(comparison.verdict, sentence(comparison, BASE))
    render.text(f"the whole comparison as a page: {result['report']}\n")
    for sample in result["samples"]:
        render.text(f"  {sample['text']}")
        base = render.short(sample["base"].replace("\n", " ") or "(nothing)", 50)
        render.text(f"    truth: {sample['truth']}   base: {base}   tuned: {sample['tuned']}\n")


def _silent(message: str) -> None:
    return None
