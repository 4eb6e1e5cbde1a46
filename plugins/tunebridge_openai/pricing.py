"""How OpenAI, Azure OpenAI and two servers of the dialect bill a job: tokens times epochs, by their own rules."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tunebridge.cost.bill import (
    Bill,
    Billing,
    Line,
    Workload,
    hosting_line,
    inference_lines,
    token_line,
    told_tokens,
)
from tunebridge.cost.interval import Interval
from tunebridge.cost.price import packaged
from tunebridge.plan import Plan
from tunebridge.training.size import billions_of_weights

PACKAGE = "tunebridge_openai"
DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")
MOST_TOKENS = 65_536
"""Tokens of a row that are trained on; the rest is cut: OpenAI's cookbook, Chat_finetuning_data_prep."""
USUAL_EPOCHS, LEAST_SEEN, MOST_SEEN, MOST_EPOCHS = 3, 100, 25_000, 25
"""OpenAI's cookbook on `auto`: three epochs, more for fewer than 100 rows seen, fewer for more than 25,000."""
WIDEST_AUTO = 4
"""Epochs that `auto` may mean at most where the cookbook's rule says less: Azure's examples differ from it."""
DEVELOPER_HOURS = 24.0
"""After which Azure removes a Developer deployment."""
SERVERS = {"together": ("together.ai", "together.xyz"), "fireworks": ("fireworks.ai",)}
"""Servers of the dialect whose rules are known, by their addresses."""
SIZES: Mapping[str, tuple[tuple[float, str], ...]] = {
    "fireworks": ((16, "16"), (80, "80"), (300, "300"), (float("inf"), "more")),
    "together": ((16, "16"), (69, "69"), (100, "100")),
}


def bill(plan: Plan, workload: Workload) -> Bill:
    """Return what the job's service bills for it."""
    service = plan.connection.get("service", "openai")
    method = plan.payload["request"]["method"]["type"]
    if method == "reinforcement":
        return Bill(
            place=service, unpriced="reinforcement is billed by the hour of a loop whose length nobody can tell"
        )
    server = _server(plan.connection.get("base_url") or "") if service == "custom" else None
    if server:
        return _bill_of_server(plan, workload, server)
    if service == "custom":
        return Bill(place="custom", unpriced="a server of your own has no known price; give one with --price-file")
    return _bill_by_tokens(plan, workload, service)


def _bill_by_tokens(plan: Plan, workload: Workload, service: str) -> Bill:
    sku, epochs = row_name(plan.base_model, service), _epochs(plan, workload)
    tier = f"azure/{plan.payload['request'].get('trainingType', 'Standard')}" if service == "azure" else None
    tokens = workload.train.total(MOST_TOKENS) * epochs
    answers = "azure" if service == "azure" else None
    return Bill(
        lines=(
            token_line(tokens, sku, tier=tier),
            *(_hosting(plan, sku) if service == "azure" else ()),
            *inference_lines(workload.serve, sku, tier=answers),
        ),
        place=tier or service,
        assumptions=(
            told_tokens(workload, _told_epochs(plan, epochs)),
            f"rows are cut at {MOST_TOKENS:,} tokens; validation rows are not billed",
        ),
        warnings=_warnings(service, plan),
        serves=(sku, answers),
    )


def _bill_of_server(plan: Plan, workload: Workload, server: str) -> Bill:
    """Return the bill of a server of the dialect; Together bills held-out rows too, for each evaluation."""
    billions = billions_of_weights(plan.base_model)
    size = next((name for most, name in SIZES[server] if billions is not None and billions <= most), None)
    if size is None:
        return Bill(place=server, unpriced=f"the size class of {plan.base_model} is not known from its name")
    method = "dpo" if plan.payload["request"]["method"]["type"] == "dpo" else "sft"
    epochs, sku = _epochs(plan, workload), f"lora-{method}-{size}"
    lines: list[Line] = [token_line(workload.train.total() * epochs, sku, tier=server)]
    if server == "together" and workload.validation:
        evaluated = Interval(low=0.0, likely=0.0, high=epochs.high)  # its own default is never
        lines.append(token_line(workload.validation.total() * evaluated, sku, name="validation", tier=server))
    return Bill(
        lines=tuple(lines),
        place=server,
        assumptions=(told_tokens(workload, _told_epochs(plan, epochs)), "LoRA, which is what the server trains"),
        warnings=("Without packing Together bills each row at its full context length.",)
        if server == "together"
        else (),
    )


def row_name(model: str, service: str) -> str:
    """Return the name under which a model stands in the price list: the dated one of its family."""
    family = DATED.sub("", model.removeprefix("ft:").split(":")[0]).lower()
    tier = "azure" if service == "azure" else None
    known = [row.sku for row in packaged(PACKAGE) if (row.tier or "").partition("/")[0] == (tier or "")]
    return next((sku for sku in known if DATED.sub("", sku).lower() == family), model)


def auto_epochs(rows: int) -> Interval:
    """Return the epochs that `auto` stands for, between one and what the rule or Azure's examples say.

    The rule's whole numbers are smoothed, so that a row more never costs less.
    """
    seen = min(max(USUAL_EPOCHS * rows, min(LEAST_SEEN, MOST_EPOCHS * rows)), max(MOST_SEEN, rows))
    likely = seen / max(1, rows)
    return Interval(low=1.0, likely=max(1.0, likely), high=max(float(WIDEST_AUTO), likely))


def _epochs(plan: Plan, workload: Workload) -> Interval:
    given = _given_epochs(plan)
    return auto_epochs(len(workload.train)) if given is None else Interval.exactly(given)


def _given_epochs(plan: Plan) -> float | None:
    method: Mapping[str, Any] = plan.payload["request"]["method"]
    epochs = method[method["type"]].get("hyperparameters", {}).get("n_epochs", "auto")
    return None if epochs == "auto" else float(epochs)


def _told_epochs(plan: Plan, epochs: Interval) -> str:
    if _given_epochs(plan) is not None:
        return f"{epochs.likely:g} epochs"
    return f"epochs by the service's own rule: about {epochs.likely:.1f}, {epochs.low:g} to {epochs.high:g} assumed"


def _hosting(plan: Plan, sku: str) -> tuple[Line, ...]:
    if plan.connection.get("sku") == "Developer":
        return (hosting_line(sku, hours=DEVELOPER_HOURS, name="Developer deployment", tier="azure/Developer"),)
    return (hosting_line(sku, name="deployment", tier="azure"),)


def _warnings(service: str, plan: Plan) -> tuple[str, ...]:
    if service == "azure" and plan.payload["request"].get("trainingType", "Standard") == "Standard":
        return ("Regional training: the price is that of the US; Sweden Central asks 10 %, North Europe 20 % more.",)
    return ()


def _server(address: str) -> str | None:
    host = urlsplit(address).hostname or ""
    return next((name for name, hosts in SERVERS.items() if host.endswith(hosts)), None)


def billing() -> Billing:
    """Return how the backend bills."""
    return Billing(bill=bill, prices=packaged(PACKAGE))
