"""What only OpenAI's dialect has: `options.openai` in a job file."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tunebridge.spec import SpecModel

ONLY_AZURE = (
    "api_version",
    "entra",
    "training_type",
    "subscription",
    "resource_group",
    "account",
    "sku",
    "capacity",
)
ServiceName = Literal["openai", "azure", "custom"]


class Wandb(SpecModel):
    """Where the service reports a run to on Weights & Biases."""

    project: str
    entity: str | None = None
    name: str | None = None
    tags: tuple[str, ...] | None = None


class OpenAIOptions(SpecModel):
    """Which service of the dialect, how to reach it, and what only it understands."""

    service: ServiceName = "openai"
    """`openai`, `azure` (Azure OpenAI and Foundry), or `custom` for any other server that speaks the dialect."""
    base_url: str | None = None
    """Address of the API, such as `https://RESOURCE.openai.azure.com/openai/v1/`; needed by azure and custom."""
    api_version: str | None = None
    """Azure only: version of the older, versioned API; unset uses `/openai/v1`."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """Name of the environment variable that holds the key; unset: the service's own."""
    entra: bool | None = None
    """Azure only: sign in with Entra (`DefaultAzureCredential`) instead of a key."""
    subscription: str | None = None
    """Azure only, to deploy: id of the subscription."""
    resource_group: str | None = None
    """Azure only, to deploy."""
    account: str | None = None
    """Azure only, to deploy: name of the resource."""
    sku: Literal["Standard", "GlobalStandard", "Developer"] | None = None
    """Azure only, to deploy: how it is hosted; unset: Standard. `Developer` costs nothing by the hour and ends by
    itself after 24 hours."""
    capacity: Annotated[int, Field(ge=1)] | None = None
    """Azure only, to deploy: thousands of tokens per minute; unset: 1."""
    organization: str | None = None
    project: str | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Part of the tuned model's name."""
    training_type: Literal["Standard", "GlobalStandard", "Developer"] | None = None
    """Azure only: where the training runs and how it is billed."""
    l2_multiplier: Annotated[float, Field(ge=0)] | None = None
    """Azure only, dpo: weight of the L2 penalty."""
    byte_order_mark: bool | None = None
    """Whether uploaded files begin with a UTF-8 byte order mark, as Azure's documentation asks; unset: no."""
    wandb: Wandb | None = None
    """Report the run to Weights & Biases; its key is set up at the service, never here."""
    grader: dict[str, Any] | None = None
    """Reinforcement only: the grader, in the service's own words; it is sent as it is."""
    compute_multiplier: Annotated[float, Field(ge=1e-5, le=10)] | None = None
    """Reinforcement only: how much is explored per step."""
    eval_interval: Annotated[int, Field(ge=1)] | None = None
    """Reinforcement only: steps between two evaluations."""
    eval_samples: Annotated[int, Field(ge=1)] | None = None
    """Reinforcement only: answers per row in an evaluation."""
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    """Reinforcement only."""

    @model_validator(mode="after")
    def _has_address(self) -> "OpenAIOptions":
        if self.service != "openai" and self.base_url is None:
            raise ValueError(f"the service {self.service} needs base_url, the address of its API")
        azure = [name for name in ONLY_AZURE if getattr(self, name) is not None]
        if self.service != "azure" and azure:
            raise ValueError(f"{', '.join(azure)} belong to the service azure; remove them, or set service: azure")
        return self
