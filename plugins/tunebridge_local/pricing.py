"""What a run on this machine takes: time, which a probe measures, and power, where a price file prices it."""

import json
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from tunebridge.cost.bill import Bill, Billing, Line, Workload, hour_line
from tunebridge.cost.constants import Constants
from tunebridge.cost.hours import hours
from tunebridge.cost.interval import Interval
from tunebridge.cost.price import packaged
from tunebridge.cost.rental import Machine, Run, capped, corrected, describe, told, too_long, training_on
from tunebridge.data.dataset import Dataset, Split
from tunebridge.plan import Plan
from tunebridge.plugins import missing_requirement
from tunebridge.training.bundle import write_run
from tunebridge.training.config import EVENTS_FILE, RunConfig
from tunebridge.training.sources import locate
from tunebridge_local import client
from tunebridge_local.info import INFO

PACKAGE = "tunebridge_local"
PROBE_STEPS, PROBE_ROWS, PROBE_SECONDS = 6, 4, 45.0
"""Steps that a probe trains, rows of each at most, and the time after which it is ended."""
PROBE: Mapping[str, Any] = {
    "early_stopping_patience": None,
    "keep": "last",
    "too_long": "truncate",
    "max_hours": None,
    "checkpoint_seconds": 3600.0,
}
"""What a probe does without: nothing is validated, stopped early or kept."""
HERE = "this machine"


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return the hours of a run on this machine, as measured where it was, and the power that they take."""
    run = describe(plan.payload, workload)
    if run is None:
        return Bill(place=HERE, unpriced=f"the size of {plan.base_model} is not known from its name")
    constants = workload.constants
    trained = _measured(run, workload) if workload.tokens_per_second else _guessed(run, constants)
    trained = capped(trained, plan.payload.get("max_hours"))
    spent = trained + constants.triple("start_minutes", "local") * (1 / 60)
    line = hour_line(HERE).model_copy(update={"quantity": spent})
    return Bill(
        lines=(line, *_power(spent, workload)),
        place=HERE,
        hours=spent,
        training_hours=trained,
        assumptions=(*told(run, workload, plan.payload), _told_speed(workload)),
        warnings=too_long(plan.payload, workload),
    )


def probe(plan: Plan, dataset: Dataset) -> float | None:
    """Return the tokens per second of a plan's first steps, trained in a folder that is thrown away.

    None where the model does not lie here, where nothing can be trained, or where not even two steps were done in time.
    """
    if missing_requirement(INFO) or locate(str(plan.payload["base_model"])).folder is None:
        return None
    with tempfile.TemporaryDirectory(prefix="tunebridge-probe-") as name:
        run, rows = Path(name) / "run", Path(name) / "rows"
        rows.mkdir()
        batch = min(int(plan.payload["batch_size"]), PROBE_ROWS)
        Split(islice(dataset.train, batch * PROBE_STEPS)).write(rows / "train.jsonl")
        settings = {**plan.payload, **PROBE, "batch_size": batch, "max_steps": PROBE_STEPS, "epochs": PROBE_STEPS}
        write_run(run, RunConfig.model_validate({"job_id": "probe", **settings}), rows)
        client.try_out(run, PROBE_SECONDS)
        return _speed(run / EVENTS_FILE)


def _speed(events: Path) -> float | None:
    """Return the median speed of the steps; the first one is left out, because it warms up."""
    try:
        told = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    speeds = [event["data"]["tokens_per_second"] for event in told if event.get("kind") == "progress"][1:]
    return float(median(speeds)) or None if speeds else None


def _measured(run: Run, workload: Workload) -> Interval:
    assert workload.tokens_per_second
    low, high = workload.constants.bounds("measured")
    validation = run.validation_tokens * workload.constants.number("work", "validation")
    validation /= workload.constants.number("work", run.adapted)
    seconds = (run.tokens + Interval.exactly(validation)) * (1 / workload.tokens_per_second)
    return Interval(low=seconds.low * low, likely=seconds.likely, high=seconds.high * high) * (1 / 3600)


def _guessed(run: Run, constants: Constants) -> Interval:
    here = Machine(HERE, gpu=client.gpu_name() or "CPU")
    return corrected(hours(training_on(here, run, constants), constants), f"local/{HERE}", constants)


def _power(spent: Interval, workload: Workload) -> tuple[Line, ...]:
    """Return the line for power where a price file prices it; without one nothing is said of it."""
    if not workload.has_electricity:
        return ()
    kilowatts = workload.constants.number("local", "watts") / 1000
    values = {"component": "training", "name": "power", "meter": "electricity", "sku": "electricity", "unit": "kWh"}
    return (Line.model_validate({**values, "quantity": spent * kilowatts}),)


def _told_speed(workload: Workload) -> str:
    if workload.tokens_per_second:
        return f"{workload.tokens_per_second:,.0f} tokens a second, measured on this machine just now"
    usual = client.gpu_name() or "CPU"
    return f"a {usual}'s usual speed; `tunebridge estimate` measures this machine where the model lies here"


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE), probe=probe)
