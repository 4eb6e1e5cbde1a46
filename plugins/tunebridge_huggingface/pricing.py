"""How Hugging Face Jobs bills: a machine by the minute, while it starts and while it runs."""

from tunebridge.cost.bill import Bill, Billing, Workload, hour_line
from tunebridge.cost.price import packaged
from tunebridge.cost.rental import Machine, rented
from tunebridge.plan import Plan

PACKAGE = "tunebridge_huggingface"


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return what a job bills on its machine."""
    name = str(plan.payload["request"]["flavor"])
    machine = Machine(name, gpu="CPU" if name.startswith("cpu") else name, gpu_count=_count(name))
    made = rented(plan, workload, machine, [hour_line(name)])
    limit = plan.payload["request"]["timeout_seconds"] / 3600
    if made.hours is not None and made.hours.high > limit:
        late = f"The service ends the job after {limit:.1f} hours; it may take {made.hours.high:.1f}."
        made = made.model_copy(update={"warnings": (*made.warnings, late)})
    return made


def _count(name: str) -> int:
    """Return the GPUs of a machine, which end its name such as `l4x4`."""
    number = name.rpartition("x")[2]
    return int(number) if number.isdigit() and "x" in name else 1


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE))
