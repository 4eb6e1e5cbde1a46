"""What a service would bill a job for, before any price: the lines that a plugin's own rule makes of a Plan."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from tunebridge.cost.constants import Constants
from tunebridge.cost.interval import Interval
from tunebridge.cost.lengths import RowLengths
from tunebridge.cost.price import Meter, Price, Unit
from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan
from tunebridge.spec import SpecModel

Component = Literal["training", "validation", "storage", "hosting", "inference"]
MONTHLY = frozenset[Component]({"storage", "hosting", "inference"})
"""What comes again each month for as long as the tuned model is kept and asked; the rest is paid once."""
HOURS_PER_MONTH = 730.0
MILLION = 1_000_000


class Line(SpecModel):
    """One thing that is billed: so many units of something."""

    component: Component
    name: str
    """What it is, for people."""
    meter: Meter
    sku: str
    unit: Unit
    quantity: Interval
    region: str | None = None
    tier: str | None = None


class Bill(SpecModel):
    """What a service would bill a job for, and what was assumed to say so."""

    lines: tuple[Line, ...] = ()
    place: str = ""
    """The machine, or the tier or mode, on which the job would run."""
    hours: Interval | None = None
    """How long the job would take; None where the service does not say."""
    training_hours: Interval | None = None
    """The part of it in which the model is trained, where it is modelled."""
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    serves: tuple[str, str | None] | None = None
    """sku and tier of the tuned model's tokens, where those are billed."""
    unpriced: str | None = None
    """Why nothing can be said of the costs, where that is so."""


class ServeTokens(SpecModel):
    """Tokens that the tuned model reads and writes in a month."""

    input: float
    output: float


@dataclass(frozen=True)
class Workload:
    """What a billing rule needs to know beside the Plan."""

    train: RowLengths
    validation: RowLengths | None
    constants: Constants
    today: date
    serve: ServeTokens | None = None
    has_electricity: bool = False
    """Whether a price of power is known."""
    tokens_per_second: float | None = None
    """What was measured on this very machine, where it was."""


@dataclass(frozen=True)
class Billing:
    """How a backend bills; a plugin names it in its BackendInfo, and it is imported when it is first needed."""

    bill: Callable[[Plan, Workload], Bill]
    """The service's own rule: pure, offline, without an SDK."""
    prices: Sequence[Price] = ()
    """Packaged rows."""
    stand_ins: Mapping[str, Any] = field(default_factory=dict)
    """Options that the backend needs and that change no price, such as a role or a bucket, for `estimate --all`."""
    probe: Callable[[Plan, Dataset], float | None] | None = None
    """Measure on this machine how many tokens per second a plan trains on; None where it cannot be measured."""


def inference_lines(serve: ServeTokens | None, sku: str, **where: str | None) -> tuple[Line, ...]:
    """Return the two lines for a month's tokens of a tuned model; none where nothing is asked of it."""
    if serve is None:
        return ()
    amounts: dict[Meter, float] = {"input": serve.input, "output": serve.output}
    return tuple(
        Line.model_validate(
            {
                "component": "inference",
                "name": f"{meter} tokens",
                "meter": meter,
                "sku": sku,
                "unit": "1M tokens",
                "quantity": Interval.exactly(tokens / MILLION),
                **where,
            }
        )
        for meter, tokens in amounts.items()
    )


def token_line(quantity: Interval, sku: str, *, name: str = "training", **where: str | None) -> Line:
    """Return the line for tokens that are trained on; `quantity` counts single tokens."""
    values = {"name": name, "meter": "training", "sku": sku, "unit": "1M tokens", "quantity": quantity * (1 / MILLION)}
    component = "validation" if name == "validation" else "training"
    return Line.model_validate({**values, "component": component, **where})


def hour_line(sku: str, *, name: str = "machine", **where: str | None) -> Line:
    """Return the line for one hour of a machine in training."""
    values = {"name": name, "meter": "training", "sku": sku, "unit": "hour", "quantity": Interval.exactly(1.0)}
    return Line.model_validate({**values, "component": "training", **where})


def hosting_line(sku: str, *, hours: float = HOURS_PER_MONTH, name: str = "endpoint", **where: str | None) -> Line:
    """Return the line for an endpoint that stands for so many hours of a month."""
    values = {"name": name, "meter": "hosting", "sku": sku, "unit": "hour", "quantity": Interval.exactly(hours)}
    return Line.model_validate({**values, "component": "hosting", **where})


def told_tokens(workload: Workload, epochs: str) -> str:
    """Return in words how the tokens were counted and how often they are trained on."""
    total = workload.train.total()
    amount = f"{total.likely:,.0f}" if total.is_exact else f"{total.low:,.0f} to {total.high:,.0f}"
    images = f"; {workload.train.images:,} images are not counted" if workload.train.images else ""
    return f"{amount} tokens in {len(workload.train):,} rows, by {workload.train.method}; {epochs}{images}"
