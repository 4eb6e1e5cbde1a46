"""The facade's part for money and time: estimates of a job on any backend, the price book, workloads, calibration."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from tunebridge.backend import Backend
from tunebridge.cost.bill import Billing, ServeTokens, Workload
from tunebridge.cost.budget import DEFAULT_PROJECT, JobCost
from tunebridge.cost.calibration import Calibrated, Finished, calibrated, write_calibration
from tunebridge.cost.comparison import Comparison, compare
from tunebridge.cost.constants import Constants, load_constants
from tunebridge.cost.estimate import CostEstimate, priced, unpriced
from tunebridge.cost.lengths import count_dataset
from tunebridge.cost.price import PriceBook, read_prices, write_prices
from tunebridge.cost.refresh import Refreshed, checked
from tunebridge.cost.workloads import DescribedHours, described_hours, read_descriptions
from tunebridge.data.counting.counters import counter_for
from tunebridge.data.dataset import Dataset, Split
from tunebridge.errors import SpecError, TuneBridgeError
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.plugins import Plugins
from tunebridge.spec import JobSpec

logger = logging.getLogger(__name__)
CONSTANTS_FILE = "constants.toml"
CALIBRATION_FILE = "calibration.toml"
PRICES_FOLDER = "prices"
"""Below the store's folder: one file of refreshed prices for each backend, `BACKEND.json`."""


@dataclass(frozen=True)
class EstimateOptions:
    """What an estimate is made with."""

    serve: ServeTokens | None = None
    """Tokens of the tuned model per month."""
    price_file: Path | None = None
    """Contract prices, which count before any other."""
    constants: Path | None = None
    """A file that overrides the model's constants."""
    probe: bool = True
    """Whether the speed of this machine is measured for a local run; it takes some seconds."""
    today: date | None = None


class Costs:
    """What jobs cost, before they are submitted; offline and without keys."""

    def __init__(self, plugins: Plugins, home: Path, open_backend: Callable[[str], Backend]) -> None:
        self._plugins, self._home, self._open = plugins, home, open_backend

    def compare(
        self,
        spec_of: Callable[[str], JobSpec],
        dataset_of: Callable[[JobSpec], Dataset],
        backends: Sequence[str],
        *,
        chosen: str,
        options: EstimateOptions | None = None,
    ) -> Comparison:
        """Return the estimates of one job on several backends; `spec_of` gives the job for each of them."""
        options = options or EstimateOptions()
        today = options.today or date.today()
        desk = _Desk(self, options, today, dataset_of)
        rows = [desk.estimate(name, spec_of).model_copy(update={"is_chosen": name == chosen}) for name in backends]
        made = compare(rows, today=today, serve=options.serve)
        return made.model_copy(update=desk.rows_seen)

    def estimate(self, plan: Plan, dataset: Dataset, options: EstimateOptions | None = None) -> CostEstimate:
        """Return what one plan costs."""
        options = options or EstimateOptions()
        return _Desk(self, options, options.today or date.today(), lambda spec: dataset).of_plan(plan, dataset)

    def of_job(self, spec: JobSpec, plan: Plan, dataset: Dataset, *, price_file: Path | None = None) -> JobCost:
        """Return what a job's submit reserves; an estimate that cannot be made stops only a job that has a cap."""
        try:
            estimate = self.estimate(plan, dataset, EstimateOptions(price_file=price_file, probe=False))
        except TuneBridgeError as error:
            logger.warning("the job's cost cannot be estimated: %s", error)
            estimate = unpriced(plan.backend, "not planned", str(error), base_model=plan.base_model)
        project = spec.budget.project or DEFAULT_PROJECT
        return JobCost(project=project, estimate=estimate, max_usd=spec.budget.max_usd)

    def book(self, price_file: Path | None = None) -> PriceBook:
        """Return every price: the user's file, then what was refreshed, then the packaged rows."""
        own = [read_prices(price_file, "price file")] if price_file else []
        files = sorted((self._home / PRICES_FOLDER).glob("*.json"))
        refreshed = [row for file in files for row in read_prices(file, "refreshed")]
        packaged = [row for name in self._plugins.backends() if (known := self.billing(name)) for row in known.prices]
        return PriceBook([*own, refreshed, packaged])

    def refresh(self, backend: str, *, region: str | None = None) -> Refreshed:
        """Ask a vendor for today's prices and keep those that can be believed; later estimates count with them."""
        fresh = self._open(backend).list_prices(region)
        made = checked(backend, fresh, self.book())
        if made.rows:
            file = self._home / PRICES_FOLDER / f"{backend}.json"
            earlier = read_prices(file, "refreshed") if file.exists() else ()
            asked = {(row.meter, row.sku, row.region, row.tier) for row in made.rows}
            others = [row for row in earlier if (row.meter, row.sku, row.region, row.tier) not in asked]
            write_prices(file, [*made.rows, *others])
        return made

    def billing(self, name: str) -> Billing | None:
        """Return how a backend bills, None where its plugin does not say."""
        info = self._plugins.backend(name)
        return info.billing() if info.billing else None

    def constants(self, file: Path | None = None) -> Constants:
        """Return the model's constants with the user's own laid over them, and what was calibrated."""
        kept = [path for name in (CONSTANTS_FILE, CALIBRATION_FILE) if (path := self._home / name).exists()]
        return load_constants([*kept, *([file] if file else [])])

    def workloads(self, file: Path, constants: Path | None = None) -> list[DescribedHours]:
        """Return the hours of each workload that a file describes."""
        known = self.constants(constants)
        return [described_hours(training, known) for training in read_descriptions(file)]

    def calibrate(self, jobs: Sequence[Job], plan_of: Callable[[str], Plan]) -> list[Calibrated]:
        """Learn from finished jobs how far the model of time is off on each machine; later estimates use it."""
        found = calibrated(done for job in jobs if (done := self._finished(job, plan_of)))
        if found:
            write_calibration(self._home / CALIBRATION_FILE, found)
        return found

    def _finished(self, job: Job, plan_of: Callable[[str], Plan]) -> Finished | None:
        """Return a finished job beside what is predicted without calibration; None where it has nothing to teach."""
        seconds = job.usage.training_seconds
        if job.status != JobStatus.succeeded or job.rehearsal or not seconds:
            return None
        own = self._home / CONSTANTS_FILE
        try:
            billing, plan = self.billing(job.backend), plan_of(job.id)
            rows = Dataset(*(_staged(job.folder, split) for split in ("train", "validation")))
            train, validation = count_dataset(rows, counter_for(plan.base_model))
            constants = load_constants([own] if own.exists() else [])
            bill = billing.bill(plan, Workload(train, validation, constants, date.today())) if billing else None
        except (TuneBridgeError, OSError) as error:
            logger.warning("job %s teaches nothing: %s", job.id, error)
            return None
        if bill is None or bill.training_hours is None:
            return None
        return Finished(f"{job.backend}/{bill.place}", seconds / 3600, bill.training_hours.likely)

    def open(self, name: str) -> Backend:
        """Return a backend ready to plan."""
        return self._open(name)


class _Desk:
    """Makes the estimates of one comparison: rows are read and counted once for each model."""

    def __init__(
        self, costs: Costs, options: EstimateOptions, today: date, dataset_of: Callable[[JobSpec], Dataset]
    ) -> None:
        self._costs, self._options, self._today, self._dataset_of = costs, options, today, dataset_of
        self._book, self._constants = costs.book(options.price_file), costs.constants(options.constants)
        self._counted = cache(self._count)
        self.rows_seen: dict[str, int] = {}

    def estimate(self, name: str, spec_of: Callable[[str], JobSpec]) -> CostEstimate:
        """Return a backend's estimate; what stands in the way of it alone becomes the row's reason."""
        spec = filled(spec_of(name), self._costs.billing(name))
        dataset = self._dataset_of(spec)
        self.rows_seen = {"train_rows": len(dataset.train), "validation_rows": len(dataset.validation or ())}
        try:
            return self.of_plan(self._costs.open(name).plan(spec, dataset), dataset)
        except TuneBridgeError as error:
            return unpriced(name, "not planned", str(error))

    def of_plan(self, plan: Plan, dataset: Dataset) -> CostEstimate:
        """Return the estimate of a plan."""
        billing = self._costs.billing(plan.backend)
        if billing is None:
            reason = "its plugin names no rule by which it bills"
            return unpriced(plan.backend, "no price", reason, base_model=plan.base_model)
        workload = self._workload(plan, dataset)
        if billing.probe and self._options.probe and not plan.refused:
            workload = replace(workload, tokens_per_second=billing.probe(plan, dataset))
        bill, is_served = billing.bill(plan, workload), self._options.serve is not None
        return priced(plan, bill, self._book, self._today, is_served=is_served)

    def _workload(self, plan: Plan, dataset: Dataset) -> Workload:
        train, validation = self._counted(dataset, plan.base_model)
        return Workload(
            train=train,
            validation=validation,
            constants=self._constants,
            today=self._today,
            serve=self._options.serve,
            has_electricity=self._book.find(plan.backend, "electricity", "electricity") is not None,
        )

    @staticmethod
    def _count(dataset: Dataset, model: str) -> Any:
        return count_dataset(dataset, counter_for(model))


def _staged(folder: Path, split: str) -> Any:
    path = folder / f"{split}.jsonl"
    return Split.read(path) if path.exists() else None


def filled(spec: JobSpec, billing: Billing | None) -> JobSpec:
    """Return the job with stand-ins for options that its backend needs and that change no price."""
    own: Mapping[str, Any] = spec.options.get(spec.backend, {})
    stand_ins = {key: value for key, value in (billing.stand_ins if billing else {}).items() if key not in own}
    if not stand_ins:
        return spec
    options = {**spec.options, spec.backend: {**stand_ins, **own}}
    return spec.model_copy(update={"options": options})


def serve_tokens(text: str) -> ServeTokens:
    """Read `input,output` tokens per month, such as `2000000,500000` or `2M,500k`; SpecError for anything else."""
    units = {"k": 1e3, "m": 1e6, "b": 1e9}
    parts = [part.strip().lower() for part in text.split(",")]
    try:
        amounts = [float(part.rstrip("kmb")) * units.get(part[-1:], 1.0) for part in parts]
        read, written = amounts
    except ValueError:
        raise SpecError(
            f"{text!r} is no pair of numbers. Write tokens per month as 2000000,500000 or 2M,500k."
        ) from None
    if not (0 <= read < inf and 0 <= written < inf):
        raise SpecError(f"{text!r} are no amounts. Write tokens per month as 2M,500k.")
    return ServeTokens(input=read, output=written)
