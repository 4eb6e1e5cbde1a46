"""How Bedrock bills a customization: tokens of the rows times epochs, by a rate for each model."""

from tunebridge.cost.bill import Bill, Billing, Workload, inference_lines, token_line, told_tokens
from tunebridge.cost.interval import Interval
from tunebridge.cost.price import packaged
from tunebridge.plan import Plan

PACKAGE = "tunebridge_bedrock"
DEFAULT_EPOCHS = {"nova": 2.0, "llama3-1": 5.0}
"""https://docs.aws.amazon.com/bedrock/latest/userguide/custom-models-hp.html and cm-hp-meta-llama31.html."""
ANY_EPOCHS = Interval(low=1.0, likely=2.0, high=10.0)
"""For models whose default no document names."""
STAND_INS = {"region": "us-east-1", "role_arn": "arn:aws:iam::123456789012:role/estimate", "bucket": "estimate"}


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return what Bedrock bills for a job."""
    region = str(plan.connection.get("region") or "us-east-1")
    if plan.payload["request"].get("customizationType") == "REINFORCEMENT_FINE_TUNING":
        return Bill(place=region, unpriced="reinforcement is billed by the hour of a loop whose length nobody can tell")
    epochs, sku = _epochs(plan), _sku(plan.base_model)
    told = f"{epochs.low:g} to {epochs.high:g} epochs" if not epochs.is_exact else f"{epochs.likely:g} epochs"
    return Bill(
        lines=(
            token_line(workload.train.total() * epochs, sku, region=region),
            *inference_lines(workload.serve, sku, region=region),
        ),
        place=region,
        assumptions=(told_tokens(workload, told), "keeping the tuned model and provisioned throughput are not in it"),
        serves=(sku, None),
    )


def _epochs(plan: Plan) -> Interval:
    given = plan.payload.get("hyperparameters", {}).get("epochCount")
    if given is not None:
        return Interval.exactly(float(given))
    known = next((epochs for part, epochs in DEFAULT_EPOCHS.items() if part in plan.base_model), None)
    return Interval.exactly(known) if known else ANY_EPOCHS


def _sku(model: str) -> str:
    return next((row.sku for row in sorted(packaged(PACKAGE), key=lambda r: -len(r.sku)) if row.sku in model), model)


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE), stand_ins=STAND_INS)
