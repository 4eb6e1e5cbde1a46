"""From a run folder to a Loop that is ready to go: resources, model, rendered rows, checkpoints."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tunebridge.data.rendering.preview import at, check_rendered, group
from tunebridge.data.rendering.render import end_tokens
from tunebridge.errors import DataError, SpecError
from tunebridge.training import adapters, attention, device, files, memory, models, rendered
from tunebridge.training import config as names
from tunebridge.training.apart import check_rows_stay_apart
from tunebridge.training.checkpoints import Checkpoints
from tunebridge.training.config import RunConfig
from tunebridge.training.device import Resources
from tunebridge.training.events import EventLog
from tunebridge.training.fused import fuse
from tunebridge.training.head import fuse_head
from tunebridge.training.loop import Loop
from tunebridge.training.objective import objective
from tunebridge.training.packing import flatten
from tunebridge.training.ranks import join
from tunebridge.training.reference import by_model, keep_reference, with_reference
from tunebridge.training.rows import RenderedSplit, Unit, render_split

RESOURCES_FILE = "resources.json"


def prepare(folder: Path, run: RunConfig, log: EventLog, should_stop: Callable[[], bool]) -> Loop:
    """Load everything that a run needs; with checkpoints in the folder the run goes on from the newest."""
    resources = _resources(folder, run)
    resources.apply()
    ranks = join(resources.device)
    together = f", {ranks.count} processes" if ranks.count > 1 else ""
    log.event(f"resources-{log.attempt}", "log", f"training on {resources.reason}{together}", **resources.to_json())
    tokenizer = models.load_tokenizer(run.base_model)
    splits = _rows(folder, run, tokenizer, log, keep=ranks.is_first)
    model = _model(run, resources, tokenizer, splits["train"])
    resources = _fitted(resources, model, splits)
    if ranks.is_first:
        files.write_json(folder / RESOURCES_FILE, resources.to_json())
    if resources.checkpoint_activations:
        log.event("activations", "log", "activations are computed again for the backward pass, to save memory")
        models.checkpoint_activations(model)
    if run.method == "dpo" and run.adapter.type == "full":
        if ranks.is_first:
            keep_reference(splits, folder, by_model(model, resources, should_stop))
        ranks.wait()
        splits = with_reference(splits, folder)
    loop = Loop(
        run=run,
        model=model,
        objective=objective(run),
        train=splits["train"],
        validation=splits.get("validation"),
        log=log,
        checkpoints=Checkpoints(folder / names.CHECKPOINTS_FOLDER, run.keep_checkpoints),
        resources=resources,
        should_stop=should_stop,
        ranks=ranks,
        on_smaller_passes=lambda found: _use_smaller(folder if ranks.is_first else None, found, model, log),
    )
    if loop.progress.step:
        log.event(f"resumed-{log.attempt}", "log", f"going on after step {loop.progress.step}")
    return loop


def _resources(folder: Path, run: RunConfig) -> Resources:
    """Choose once per run folder: a resumed run must round as the first part did."""
    path = folder / RESOURCES_FILE
    return Resources(**json.loads(path.read_text())) if path.exists() else device.choose(run)


def _fitted(resources: Resources, model: Any, splits: Mapping[str, RenderedSplit]) -> Resources:
    if resources.tokens_per_pass:
        return resources
    longest = max(unit.tokens for split in splits.values() for unit in split.units)
    return memory.fitted(resources, memory.fit(model, longest, resources.device))


def _use_smaller(folder: Path | None, resources: Resources, model: Any, log: EventLog) -> None:
    """Go on with smaller passes, now and when resumed."""
    if resources.checkpoint_activations:
        models.checkpoint_activations(model)
    if folder is not None:
        files.write_json(folder / RESOURCES_FILE, resources.to_json())
    again = ", activations computed again for the backward pass" if resources.checkpoint_activations else ""
    log.event(
        f"smaller-passes-{resources.tokens_per_pass}-{resources.checkpoint_activations}",
        "warning",
        f"memory ran out; going on with {resources.tokens_per_pass} tokens per pass{again}",
    )


def _rows(folder: Path, run: RunConfig, tokenizer: Any, log: EventLog, *, keep: bool) -> dict[str, RenderedSplit]:
    """Return the rendered splits by name: `train`, and `validation` where there is one; `keep` them for a resume."""
    found: dict[str, RenderedSplit] = {}
    for name, file in (("train", names.TRAIN_FILE), ("validation", names.VALIDATION_FILE)):
        path = folder / file
        if path.exists() and path.stat().st_size:
            place = folder / f"rendered-{name}.safetensors"
            of = rendered.fingerprint(path, tokenizer, run)
            found[name] = rendered.kept(place, of, partial(_render, path, tokenizer, run), keep=keep)
            _tell_of_long_rows("" if name == "train" else f"{name}-", found[name], run, log)
        elif name == "train":
            raise DataError("the run folder has no training rows. Submit the job again.", file=file)
    _tell_of_odd_rows(found["train"], tokenizer, run, log)
    return found


def _tell_of_odd_rows(split: RenderedSplit, tokenizer: Any, run: RunConfig, log: EventLog) -> None:
    """Warn of what `tunebridge data preview` warns of; what becomes of rows that are too long is said already."""
    ends = end_tokens(tokenizer)
    most = run.max_length - bool(split.truncated)
    found = [
        at(problem, names.TRAIN_FILE, line)
        for line, unit in zip(split.lines, split.units, strict=True)
        for row in unit.rows
        if len(row.token_ids) <= most
        for problem in check_rendered(row, tokenizer, ends=ends)
    ]
    for problem in group(found):
        log.event(problem.code, "warning", f"{problem.message}. {problem.fix}", line=problem.line)


def _render(path: Path, tokenizer: Any, run: RunConfig) -> RenderedSplit:
    split = files.read_split(path)
    assert split is not None  # the file is there
    return render_split(split, tokenizer, run, file=path.name)


def _tell_of_long_rows(prefix: str, split: RenderedSplit, run: RunConfig, log: EventLog) -> None:
    total = len(split.units) + split.dropped
    for word, count in (("dropped", split.dropped), ("truncated", split.truncated)):
        if count:
            text = f"{count} of {total} {prefix}rows are longer than max_length {run.max_length} and were {word}"
            log.event(f"{prefix}{word}-rows", "warning", text.replace("-rows", " rows"), rows=count)


def _model(run: RunConfig, resources: Resources, tokenizer: Any, train: RenderedSplit) -> Any:
    in_4_bits = resources.device if run.adapter.type == "qlora" else None
    model = models.load_base(run.base_model, seed=run.seed, in_4_bits_on=in_4_bits)
    new_tokens = adapters.grow(model, len(tokenizer))
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and run.max_length > limit:
        raise SpecError(
            f"hyperparameters.max_length is {run.max_length}, but the model takes at most {limit}. Lower it.",
            key="hyperparameters.max_length",
        )
    try:
        return trainable(model, run, resources, train.units, new_tokens=new_tokens)
    except RuntimeError as error:
        if not in_4_bits:
            raise
        raise SpecError(
            f"This model's layers cannot be computed in 4 bits here: {error}. Choose the adapter lora.",
            key="method.adapter.type",
        ) from error


def trainable(
    model: Any, run: RunConfig, resources: Resources, units: Sequence[Unit], *, new_tokens: range = range(0)
) -> Any:
    """Return a base model on its device, attending over flat sequences, with the run's adapter.

    SpecError when the first of the units show that the model's layers mix rows.
    """
    if run.adapter.type != "qlora":  # bitsandbytes has put the weights where they belong
        model = model.to(torch.device(resources.device), _weights_dtype(run, resources))
    check_rows_stay_apart(model, [row for unit in units[:2] for row in unit.rows])
    attention.use(model)
    if run.adapter.type == "full":
        return model
    model = adapters.add_adapter(model, run.adapter, seed=run.seed, new_tokens=new_tokens)
    fuse(model)
    fuse_head(model, flatten(units[:1], torch.device(resources.device)))
    return model


def _weights_dtype(run: RunConfig, resources: Resources) -> torch.dtype:
    """Frozen weights need no more than bfloat16 where that is native; adapters, and weights that are trained, do."""
    return torch.bfloat16 if run.adapter.type != "full" and resources.dtype == "bfloat16" else torch.float32
