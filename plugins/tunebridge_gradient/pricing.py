"""How Gradient.AI billed: by trained token; an installation of today has no price that anybody publishes."""

from tunebridge.cost.bill import Bill, Billing, Workload, token_line, told_tokens
from tunebridge.cost.price import packaged
from tunebridge.plan import Plan

PACKAGE = "tunebridge_gradient"
STAND_INS = {"host": "https://gradient.invalid/api"}


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return the tokens of a job; only a price file has a price for them."""
    epochs = float(plan.payload["calls"]["epochs"])
    return Bill(
        lines=(token_line(workload.train.total() * epochs, "adapter"),),
        place=str(plan.connection.get("host", "")),
        assumptions=(told_tokens(workload, f"{epochs:g} epochs"),),
    )


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE), stand_ins=STAND_INS)
