"""What a line lets rules do by themselves."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_contract.errors import ConfigError
from fleet_contract.messages import first_problem
from fleet_server.runs.schedule import parse_schedule

Cause = Literal["light", "focus", "dirt", "camera", "noise", "mix", "model"]


class Policy(BaseModel):
    """A line's policy, as a person writes it in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retrain_on: tuple[Cause, ...] = ("light",)
    """Causes of incidents on which samples are fetched and a training run is queued."""
    samples: int = Field(default=60, ge=1, le=1000)
    """How many samples an incident fetches."""
    min_labelled: int = Field(default=40, ge=1)
    """How many of them must be labelled before a dataset version is made."""
    holdout_share: float = Field(default=0.3, gt=0, lt=1)
    train_after_labels: int | None = Field(default=None, ge=1)
    """New labels of the line after which a dataset version is made and a run queued; None: never."""
    train_schedule: str = ""
    """`daily HH:MM` in UTC or `every Nh`: a run by the clock, new labels taken in; empty: never."""


def read_policy(content: object) -> Policy:
    """The policy in `content`. Raises ConfigError that names the key."""
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"not a policy: {first_problem(error)}") from error
    if policy.train_schedule:
        parse_schedule(policy.train_schedule)
    if policy.min_labelled > policy.samples:
        raise ConfigError(
            "a policy can never be met",
            expected="min_labelled at most samples",
            found=f"{policy.min_labelled} of {policy.samples}",
        )
    return policy
