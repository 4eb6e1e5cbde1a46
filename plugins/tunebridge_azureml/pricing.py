"""How Azure Machine Learning bills: the price of the virtual machine that runs the job."""

from collections.abc import Mapping

from tunebridge.cost.bill import Bill, Billing, Workload, hour_line
from tunebridge.cost.price import packaged
from tunebridge.cost.rental import Machine, rented
from tunebridge.plan import Plan

PACKAGE = "tunebridge_azureml"
GPUS: Mapping[str, tuple[str, int]] = {
    "T4": ("T4", 1),
    "NC24ads_A100": ("A100 80GB", 1),
    "NC48ads_A100": ("A100 80GB", 2),
    "NC96ads_A100": ("A100 80GB", 4),
    "NC40ads_H100": ("H100 NVL", 1),
    "NC80adis_H100": ("H100 NVL", 2),
    "ND96asr": ("A100 40GB", 8),
    "ND96amsr": ("A100 80GB", 8),
    "ND96isr_H100": ("H100", 8),
    "ND96isr_H200": ("H200", 8),
}
"""Part of a machine's name -> its GPUs."""
STAND_INS = {
    "subscription": "00000000-0000-0000-0000-000000000000",
    "resource_group": "estimate",
    "workspace": "estimate",
    "instance_type": "Standard_NC24ads_A100_v4",
}


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return what a job bills on its machine."""
    request = plan.payload["request"]
    name = request.get("instance_type")
    if name is None:
        cluster = request.get("compute")
        return Bill(place=str(cluster), unpriced=f"which machine the cluster {cluster} has is not known here")
    if "run" not in plan.payload:
        return Bill(place=name, unpriced="how long the service's own component takes is not known")
    gpu, count = next((found for part, found in GPUS.items() if part in name), ("unknown", 1))
    made = rented(plan, workload, Machine(name, gpu=gpu, gpu_count=count), [hour_line(name)])
    if request.get("job_tier") == "Spot":
        spot = "Spot capacity is priced here as on demand, which is the most that it costs."
        made = made.model_copy(update={"warnings": (*made.warnings, spot)})
    return made


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE), stand_ins=STAND_INS)
