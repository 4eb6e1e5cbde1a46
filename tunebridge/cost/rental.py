"""The bill of a run of our own trainer on a machine that is rented by the hour, or on this one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunebridge.cost.bill import MILLION, Bill, Line, Workload
from tunebridge.cost.constants import Constants
from tunebridge.cost.hours import Adapted, Training, hours, regime, seconds_per_token, validation_share
from tunebridge.cost.interval import Interval
from tunebridge.cost.memory import needed_gb
from tunebridge.cost.workloads import ANY_GPU, active_billions_of
from tunebridge.plan import Plan
from tunebridge.training.size import ADAPTED, billions_of

MINUTES = 60.0


@dataclass(frozen=True)
class Machine:
    """A machine that is rented by the hour."""

    name: str
    gpu: str = "CPU"
    gpu_count: int = 1
    """The trainer uses one, whatever there are."""


@dataclass(frozen=True)
class Run:
    """What the models of time and memory need to know of a run."""

    billions: float
    active_billions: float | None
    """Of a mixture of experts, where its name tells."""
    adapted: Adapted
    tokens: Interval
    validation_tokens: float
    rows_per_pass: float
    mean_length: float
    attended: float
    longest: int
    is_preference: bool
    is_slow_adapter: bool


def rented(plan: Plan, workload: Workload, machine: Machine, lines: Sequence[Line]) -> Bill:
    """Return the bill of a run on a machine; `lines` are what an hour of it is billed by, with a quantity of one."""
    settings = plan.payload["run"]
    run = describe(settings, workload)
    if run is None:
        return Bill(place=machine.name, unpriced=f"the size of {settings['base_model']} is not known from its name")
    constants = workload.constants
    training = training_on(machine, run, constants)
    trained = corrected(hours(training, constants), f"{plan.backend}/{machine.name}", constants)
    trained = capped(trained, settings.get("max_hours"))
    start = _start(plan.backend, run, constants)
    held_out = trained * validation_share(training, constants)
    return Bill(
        lines=_lines(lines, trained * (1 - validation_share(training, constants)) + start, held_out),
        place=machine.name,
        hours=trained + start,
        training_hours=trained,
        assumptions=(*told(run, workload, settings), _told_speed(training, machine, constants)),
        warnings=(*too_long(settings, workload), *_warnings(run, machine, training, constants)),
    )


def describe(settings: Mapping[str, Any], workload: Workload) -> Run | None:
    """Return what a run's settings and rows come to; None where the model's size is not known."""
    billions = billions_of(settings["base_model"])
    if billions is None:
        return None
    limit = int(settings["max_length"])
    train, held_out = workload.train, workload.validation
    tokens, rows = train.total(limit), max(1, len(train))
    epochs = float(settings["epochs"])
    if settings.get("max_steps"):
        epochs = min(epochs, settings["max_steps"] * settings["batch_size"] / rows)
    passes_over_held_out = int(settings.get("evaluations") or 10)
    adapter = str(settings["adapter"]["type"])
    return Run(
        billions=billions,
        active_billions=active_billions_of(settings["base_model"]),
        adapted=ADAPTED[adapter],
        tokens=tokens * epochs,
        validation_tokens=held_out.total(limit).likely * passes_over_held_out if held_out else 0.0,
        rows_per_pass=float(settings["batch_size"]),
        mean_length=tokens.likely / rows,
        attended=train.attended(limit),
        longest=train.longest(limit),
        is_preference=settings.get("method") == "dpo",
        is_slow_adapter=adapter == "dora",
    )


def told(run: Run, workload: Workload, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in words what was assumed of the rows."""
    low, high = run.tokens.low / MILLION, run.tokens.high / MILLION
    amount = f"{run.tokens.likely / MILLION:.3g}M" if run.tokens.is_exact else f"{low:.3g}M to {high:.3g}M"
    counted = "counted" if workload.train.is_exact else "estimated"
    return (
        f"{amount} tokens over {settings['epochs']:g} epochs, {counted} by {workload.train.method}; rows are packed",
        f"{run.billions:.3g} billion weights, by the model's name or files; {run.adapted}",
    )


def too_long(settings: Mapping[str, Any], workload: Workload) -> tuple[str, ...]:
    """Return the warning that rows are longer than the run takes, where it refuses them."""
    limit, rows = int(settings["max_length"]), workload.train
    found = rows.longer_than(limit)
    if not found or settings.get("too_long") != "error":
        return ()
    return (f"{found:,} of {len(rows):,} rows are longer than max_length {limit:,}: the run refuses them.",)


def training_on(machine: Machine, run: Run, constants: Constants) -> Training:
    """Return a run on a machine as the model of time sees it; the trainer packs its rows and uses one GPU."""
    gpu = constants.gpu(machine.gpu)
    most = constants.number("rented", "pass_tokens")
    return Training(
        billions=run.billions,
        active_billions=run.active_billions,
        adapted=run.adapted,
        tokens=run.tokens,
        gpu=gpu or ANY_GPU,
        pass_tokens=max(1.0, min(run.rows_per_pass * run.mean_length, most)),
        length=run.attended,
        has_reference=run.is_preference,
        is_slow_adapter=run.is_slow_adapter,
        validation_tokens=run.validation_tokens,
        extra_regimes=() if gpu and gpu.name != "CPU" else ("unknown_gpu",),
    )


def _lines(hourly: Sequence[Line], training: Interval, held_out: Interval) -> tuple[Line, ...]:
    """Return what the hours of training, with those of the start, and of validation are billed by."""
    lines = [line.model_copy(update={"quantity": line.quantity * training}) for line in hourly]
    if held_out.high:
        update = {"component": "validation"}
        lines += [line.model_copy(update={**update, "quantity": line.quantity * held_out}) for line in hourly]
    return tuple(lines)


def corrected(found: Interval, machine: str, constants: Constants) -> Interval:
    """Return hours corrected by what the user's own finished jobs took on `machine`, a backend and its machine."""
    factors = constants.calibrated.get(machine)
    if factors is None:
        return found
    low, likely, high = factors
    return Interval(low=found.likely * low, likely=found.likely * likely, high=found.likely * high)


def capped(found: Interval, most: float | None) -> Interval:
    """Return the hours that a limit leaves."""
    if most is None:
        return found
    return Interval(low=min(found.low, most), likely=min(found.likely, most), high=min(found.high, most))


def _start(backend: str, run: Run, constants: Constants) -> Interval:
    minutes = constants.triple("start_minutes", backend)
    slow, usual, fast = constants.tables["start_minutes"]["download_gb_per_second"]
    gigabytes = run.billions * 2
    seconds = Interval(low=gigabytes / fast, likely=gigabytes / usual, high=gigabytes / slow)
    return minutes * (1 / MINUTES) + seconds * (1 / MINUTES**2)


def _told_speed(training: Training, machine: Machine, constants: Constants) -> str:
    speed = 1 / seconds_per_token(replace(training, validation_tokens=0.0), constants)
    what = f"{training.gpu.name}, regime {regime(training, constants)}, about {speed:,.0f} tokens a second"
    return f"{machine.name}: {what}; the start of the machine is billed too"


def _warnings(run: Run, machine: Machine, training: Training, constants: Constants) -> tuple[str, ...]:
    warned = []
    needed = needed_gb(run.billions, run.adapted, constants, longest=run.longest)
    if training.gpu is ANY_GPU:
        warned.append(f"The GPU of {machine.name} is not in the catalogue; the time is a wide guess.")
    elif needed > training.gpu.memory_gb and machine.gpu != "CPU":
        warned.append(
            f"The run may need {needed:.0f} GB of GPU memory, and {machine.name} has {training.gpu.memory_gb:g} GB."
        )
    if machine.gpu_count > 1:
        warned.append(f"The trainer uses one of the {machine.gpu_count} GPUs of {machine.name}; all are billed.")
    return tuple(warned)
