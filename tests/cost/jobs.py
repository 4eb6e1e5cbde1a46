"""Plans and workloads for tests of billing rules."""

from array import array
from collections.abc import Mapping
from datetime import date
from typing import Any

from tunebridge.cost.bill import ServeTokens, Workload
from tunebridge.cost.constants import load_constants
from tunebridge.cost.estimate import CostEstimate, priced
from tunebridge.cost.lengths import RowLengths
from tunebridge.cost.price import PriceBook
from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.example import Example, Message
from tunebridge.plan import Plan
from tunebridge.plugins import discover
from tunebridge.spec import JobSpec

TODAY = date(2026, 11, 25)


def lengths(*tokens: int, share: float = 0.0) -> RowLengths:
    """Return rows of so many tokens, known within a share."""
    low, high = (array("I", (round(count * factor) for count in tokens)) for factor in (1 - share, 1 + share))
    return RowLengths(low, array("I", tokens), high, method="a test")


def workload(train: RowLengths, validation: RowLengths | None = None, serve: ServeTokens | None = None) -> Workload:
    """Return what a billing rule is given."""
    return Workload(train, validation, load_constants(), TODAY, serve=serve)


def plan(backend: str, values: Mapping[str, Any], rows: int = 12) -> Plan:
    """Return a backend's plan of a job with a few rows; the workload says how long they are."""
    turns = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    dataset = Dataset(Split([Example(messages=turns)] * rows))
    job = {"backend": backend, "data": {"train": "rows.jsonl"}, **values}
    return discover().open(backend).plan(JobSpec.model_validate(job), dataset)


def estimate(made: Plan, load: Workload, book: PriceBook | None = None, today: date = TODAY) -> CostEstimate:
    """Return what a plan costs by the packaged prices, or those of a book."""
    info = discover().backend(made.backend)
    assert info.billing
    billing = info.billing()
    known = book or PriceBook([billing.prices])
    return priced(made, billing.bill(made, load), known, today, is_served=load.serve is not None)
