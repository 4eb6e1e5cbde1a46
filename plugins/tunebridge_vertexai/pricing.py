"""How Vertex AI bills: tokens of the rows times epochs for tuning; machine and GPU by the hour for custom jobs."""

from tunebridge.cost.bill import Bill, Billing, Workload, hour_line, inference_lines, token_line, told_tokens
from tunebridge.cost.interval import Interval
from tunebridge.cost.price import packaged
from tunebridge.cost.rental import Machine, rented
from tunebridge.data.shapes.limits import load_limits
from tunebridge.plan import Plan

PACKAGE = "tunebridge_vertexai"
SERVICE_EPOCHS = Interval(low=1.0, likely=3.0, high=10.0)
"""Where the service chooses; Google's guides begin with three."""
STAND_INS = {"project": "estimate", "bucket": "estimate"}


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return what Vertex AI bills for a job in its mode."""
    return _machine(plan, workload) if plan.connection.get("mode") == "custom_job" else _tuning(plan, workload)


def _tuning(plan: Plan, workload: Workload) -> Bill:
    asked = plan.payload["request"]["config"]
    if asked.get("method") == "REINFORCEMENT_TUNING":
        return Bill(place="tuning", unpriced="what reinforcement costs depends on answers that nobody knows beforehand")
    given, limits = asked.get("epoch_count"), load_limits(PACKAGE)[_limit_name(plan)]
    epochs = SERVICE_EPOCHS if given is None else Interval.exactly(float(given))
    told = f"{epochs.likely:g} epochs" if given is not None else "1 to 10 epochs, since the service chooses"
    return Bill(
        lines=(
            token_line(workload.train.total(limits.max_row_tokens) * epochs, plan.base_model),
            *inference_lines(workload.serve, plan.base_model),
        ),
        place=f"tuning, {plan.connection.get('location', '')}",
        assumptions=(told_tokens(workload, told), "billed are the tokens of the rows times the epochs"),
        serves=(plan.base_model, None),
    )


def _limit_name(plan: Plan) -> str:
    return "open_models" if plan.payload["rows"]["shape"] == "open_models" else "gemini_sft"


def _machine(plan: Plan, workload: Workload) -> Bill:
    request, region = plan.payload["request"], str(plan.connection["location"])
    name, gpu = request["machine_type"], request.get("accelerator_type")
    lines = [hour_line(name, region=region)]
    if gpu:
        lines.append(hour_line(gpu, name="accelerator", region=region))
    made = rented(plan, workload, Machine(name, gpu=gpu or "CPU"), lines)
    if request.get("spot"):
        spot = "Spot capacity is priced here as on demand, which is the most that it costs."
        return made.model_copy(update={"warnings": (*made.warnings, spot)})
    return made


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE), stand_ins=STAND_INS)
