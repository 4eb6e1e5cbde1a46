"""How SageMaker bills: a machine by the second, or Amazon's own recipes by the token; an endpoint by the hour."""

from tunebridge.cost.bill import Bill, Billing, Workload, hosting_line, hour_line, token_line, told_tokens
from tunebridge.cost.interval import Interval
from tunebridge.cost.price import packaged
from tunebridge.cost.rental import Machine, rented
from tunebridge.plan import Plan
from tunebridge_sagemaker import instances

PACKAGE = "tunebridge_sagemaker"
RECIPE_EPOCHS = Interval(low=1.0, likely=2.0, high=5.0)
"""Where the job says nothing and the recipe decides, which is not published."""
STAND_INS = {
    "region": "us-east-1",
    "role_arn": "arn:aws:iam::123456789012:role/estimate",
    "bucket": "estimate",
}


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return what SageMaker bills for a job in its mode."""
    return _serverless(plan, workload) if plan.connection.get("mode") == "serverless" else _machine(plan, workload)


def _machine(plan: Plan, workload: Workload) -> Bill:
    request, region = plan.payload["request"], str(plan.connection["region"])
    name = request["ResourceConfig"]["InstanceType"]
    known = instances.instance(name)
    machine = Machine(name, gpu=known.gpu if known else "unknown")
    made = rented(plan, workload, machine, [hour_line(name, region=region)])
    standing = str(plan.connection.get("endpoint_instance_type") or name)
    warnings = (*made.warnings, *_timeout_warning(plan, made))
    if request.get("EnableManagedSpotTraining"):
        warnings += ("Spot capacity is priced here as on demand, which is the most that it costs.",)
    return made.model_copy(
        update={
            "lines": (*made.lines, hosting_line(standing, region=region)),
            "assumptions": (*made.assumptions, "the machine's disk and files in S3 are not in it"),
            "warnings": warnings,
        }
    )


def _timeout_warning(plan: Plan, made: Bill) -> tuple[str, ...]:
    limit = plan.payload["request"]["StoppingCondition"]["MaxRuntimeInSeconds"] / 3600
    if made.hours is None or made.hours.high <= limit:
        return ()
    return (f"The service ends the job after {limit:.1f} hours; it may take {made.hours.high:.1f}.",)


def _serverless(plan: Plan, workload: Workload) -> Bill:
    given = plan.payload.get("hyperparameters", {}).get("max_epochs")
    epochs = Interval.exactly(float(given)) if given is not None else RECIPE_EPOCHS
    told = (
        f"{epochs.likely:g} epochs"
        if epochs.is_exact
        else f"{epochs.low:g} to {epochs.high:g} epochs, as the recipe has it"
    )
    return Bill(
        lines=(token_line(workload.train.total() * epochs, "serverless", region=str(plan.connection["region"])),),
        place="serverless",
        assumptions=(told_tokens(workload, told),),
    )


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE), stand_ins=STAND_INS)
