"""What only Bedrock has: `options.bedrock` in a job file."""

from typing import Annotated, Literal

from pydantic import Field

from tunebridge.spec import SpecModel
from tunebridge_aws.options import AmazonOptions

LAMBDA = r"^arn:aws[a-zA-Z-]*:lambda:[a-z0-9-]+:\d{12}:function:[\w.-]+(:(\$LATEST|[\w-]+))?$"


class LambdaGrader(SpecModel):
    """A function of yours that gives an answer its reward."""

    lambdaArn: Annotated[str, Field(pattern=LAMBDA)]
    """The function's ARN."""


class GraderConfig(SpecModel):
    """Who gives rewards."""

    lambdaGrader: LambdaGrader
    """A function of yours; the only kind that the service has."""


class RftHyperparameters(SpecModel):
    """What the service knows of reinforcement beside epochs, batch size and learning rate."""

    maxPromptLength: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a prompt at most."""
    trainingSamplePerPrompt: Annotated[int, Field(ge=2, le=16)] | None = None
    """Answers that are tried per prompt."""
    inferenceMaxTokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of an answer at most."""
    reasoningEffort: Literal["low", "medium", "high"] | None = None
    """How long the model thinks before it answers."""
    evalInterval: Annotated[int, Field(ge=1, le=100)] | None = None
    """Steps between two evaluations."""


class Reinforcement(SpecModel):
    """The service's `rftConfig`."""

    graderConfig: GraderConfig
    """Who gives rewards."""
    hyperParameters: RftHyperparameters | None = None
    """What the service knows beside the job's own hyperparameters."""


class TeacherModelConfig(SpecModel):
    """Whose answers are learnt."""

    teacherModelIdentifier: str
    """Id or ARN of a model or an inference profile."""
    maxResponseLengthForInference: Annotated[int, Field(ge=1)] | None = None
    """Tokens of the teacher's answers at most."""


class Distillation(SpecModel):
    """The service's `distillationConfig`."""

    teacherModelConfig: TeacherModelConfig
    """Whose answers are learnt."""


class BedrockOptions(AmazonOptions):
    """Where a job runs, and what only Bedrock understands."""

    model_name: Annotated[str, Field(pattern=r"^([0-9a-zA-Z][_-]?){1,63}$")] | None = None
    """Name of the tuned model; unset: the job's id."""
    reinforcement: Reinforcement | None = None
    """Method `reinforcement` only, and needed there: the service's own `rftConfig` in its own words."""
    distillation: Distillation | None = None
    """Method `distillation` only, and needed there: the service's own `distillationConfig` in its own words."""
    hyperparameters: dict[str, str] | None = None
    """Hyperparameters of the model in the service's own words, such as `learningRateWarmupSteps`; sent as they are."""
