"""From a run folder to a Loop that is ready to go: resources, model, rendered rows, checkpoints."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tunebridge.data.preview import at, check_rendered, group
from tunebridge.data.tokens import end_tokens
from tunebridge.errors import DataError, SpecError
from tunebridge.training import attention, device, files, memory, models
from tunebridge.training import config as names
from tunebridge.training.apart import check_rows_stay_apart
from tunebridge.training.checkpoints import Checkpoints
from tunebridge.training.config import RunConfig
from tunebridge.training.device import Resources
from tunebridge.training.events import EventLog
from tunebridge.training.loop import Loop
from tunebridge.training.packing import RenderedSplit, render_split

RESOURCES_FILE = "resources.json"


def prepare(folder: Path, run: RunConfig, log: EventLog, should_stop: Callable[[], bool]) -> Loop:
    """Load everything that a run needs; with checkpoints in the folder the run goes on from the newest."""
    resources = _resources(folder, run)
    resources.apply()
    log.event(f"resources-{log.attempt}", "log", f"training on {resources.reason}", **resources.to_json())
    tokenizer = models.load_tokenizer(run.base_model)
    train, validation = _rows(folder, run, tokenizer, log)
    model = _model(run, resources, tokenizer, train)
    if not resources.tokens_per_pass:
        longest = max(len(row.token_ids) for split in (train, validation) if split for row in split.rows)
        fits = memory.tokens_per_pass(model, longest, resources.device)
        resources = replace(resources, tokens_per_pass=fits)
        files.write_json(folder / RESOURCES_FILE, resources.to_json())
    loop = Loop(
        run=run,
        model=model,
        train=train,
        validation=validation,
        log=log,
        checkpoints=Checkpoints(folder / names.CHECKPOINTS_FOLDER, run.keep_checkpoints),
        resources=resources,
        should_stop=should_stop,
    )
    if loop.progress.step:
        log.event(f"resumed-{log.attempt}", "log", f"going on after step {loop.progress.step}")
    return loop


def _resources(folder: Path, run: RunConfig) -> Resources:
    """Choose once per run folder: a resumed run must round as the first part did."""
    path = folder / RESOURCES_FILE
    return Resources(**json.loads(path.read_text())) if path.exists() else device.choose(run)


def _rows(folder: Path, run: RunConfig, tokenizer: Any, log: EventLog) -> tuple[RenderedSplit, RenderedSplit | None]:
    train = files.read_split(folder / names.TRAIN_FILE)
    if not train:
        raise DataError("the run folder has no training rows. Submit the job again.", file=names.TRAIN_FILE)
    rendered = render_split(train, tokenizer, run)
    held_out = files.read_split(folder / names.VALIDATION_FILE)
    validation = render_split(held_out, tokenizer, run, file=names.VALIDATION_FILE) if held_out else None
    _tell_of_long_rows("", rendered, run, log)
    if validation:
        _tell_of_long_rows("validation-", validation, run, log)
    _tell_of_odd_rows(rendered, tokenizer, run, log)
    return rendered, validation


def _tell_of_odd_rows(split: RenderedSplit, tokenizer: Any, run: RunConfig, log: EventLog) -> None:
    """Warn of what `tunebridge data preview` warns of; what becomes of rows that are too long is said already."""
    ends = end_tokens(tokenizer)
    most = run.max_length - bool(split.truncated)
    found = [
        at(problem, names.TRAIN_FILE, line)
        for line, row in zip(split.lines, split.rows, strict=True)
        if len(row.token_ids) <= most
        for problem in check_rendered(row, tokenizer, ends=ends)
    ]
    for problem in group(found):
        log.event(problem.code, "warning", f"{problem.message}. {problem.fix}", line=problem.line)


def _tell_of_long_rows(prefix: str, split: RenderedSplit, run: RunConfig, log: EventLog) -> None:
    total = len(split.rows) + split.dropped
    for word, count in (("dropped", split.dropped), ("truncated", split.truncated)):
        if count:
            text = f"{count} of {total} {prefix}rows are longer than max_length {run.max_length} and were {word}"
            log.event(f"{prefix}{word}-rows", "warning", text.replace("-rows", " rows"), rows=count)


def _model(run: RunConfig, resources: Resources, tokenizer: Any, train: RenderedSplit) -> Any:
    model = models.load_base(run.base_model, seed=run.seed)
    models.check_tokenizer(model, tokenizer)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and run.max_length > limit:
        raise SpecError(
            f"hyperparameters.max_length is {run.max_length}, but the model takes at most {limit}. Lower it.",
            key="hyperparameters.max_length",
        )
    if run.adapter.type == "lora" and resources.device == "cuda" and resources.dtype == "bfloat16":
        model = model.to(torch.bfloat16)  # frozen weights need no more; the adapter's own stay in float32
    model = model.to(torch.device(resources.device))
    check_rows_stay_apart(model, train.rows)
    attention.use(model)
    return models.add_adapter(model, run.adapter, seed=run.seed) if run.adapter.type == "lora" else model
