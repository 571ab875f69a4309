"""A rollout's plan: its stages, and what each needs before the next."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleet_contract.errors import ConfigError
from fleet_contract.messages import first_problem
from fleet_contract.names import DeviceName

StageName = Literal["shadow", "canary", "all"]
Watched = Literal["rejects", "fewer_rejects", "faults", "late", "no_decision"]
_ORDER: tuple[StageName, ...] = ("shadow", "canary", "all")


class Stage(BaseModel):
    """One stage. Times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: StageName
    devices: Literal["all"] | Annotated[int, Field(ge=1)] | list[DeviceName] = "all"
    """All of the line, so many of them (drawn by the rollout's number), or these."""
    share: float = Field(default=1.0, ge=0.001, le=1)
    """Canary: of each device's parts, in thousandths. Below 1 the champion judges the others, and the
    two are compared within the station; a later canary takes a larger share."""
    min_parts: int = Field(default=200, ge=0)
    """Parts that the bundle must have judged (shadow: pairs) before a promotion."""
    min_devices: int | None = Field(default=None, ge=1)
    """Devices that must have judged at least `min_parts_each`; None: all of the stage that work."""
    min_parts_each: int = Field(default=10, ge=0)
    horizon_s: float = Field(default=3600.0, gt=0)
    """Shadow and canary: without a promotion by then, `inconclusive` says what happens."""
    inconclusive: Literal["roll_back", "pause"] = "roll_back"
    update_timeout_s: float = Field(default=600.0, gt=0)
    """A device that has not got the bundle to run by then counts as failed."""
    silent_timeout_s: float = Field(default=180.0, gt=0)
    """A device that was not heard of for so long counts as failed."""
    max_failures: int = Field(default=0, ge=0)
    """Devices that may fail; one more rolls back at once."""
    look_every_s: float = Field(default=5.0, gt=0)
    """The gate judges this often."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance of a wrong roll-back by the statistics of the whole stage."""

    max_disagreement: float = Field(default=0.25, gt=0, lt=1)
    """Shadow: share of parts on which the two bundles may disagree without a person's review."""
    max_faults: int = Field(default=0, ge=0)
    """Shadow: errors of the candidate's runtime."""
    max_late: float = Field(default=0.5, gt=0, le=1)
    """Shadow: share of the candidate's verdicts after the line's deadline."""

    watch: list[Watched] = Field(
        default=["rejects", "fewer_rejects", "faults", "late", "no_decision"], min_length=1
    )
    """Canary: events whose rate must not grow (`fewer_rejects`: shrink). Shadow: only rejects; where
    they do, people's reviews decide, and not how often the two disagree."""
    rate_ratio: float = Field(default=1.25, ge=1)
    """Shadow and canary: a rate up to so many times the other's is no sign of harm."""
    margin: float = Field(default=1.5, gt=1)
    """Canary of at least four devices an arm: promoted when a larger ratio is ruled out."""
    looks: int = Field(default=4, ge=1, le=20)
    """Canary: how often the promotion test may look until the horizon."""
    history_s: float = Field(default=3600.0, gt=0)
    """Canary: how far back a device's own earlier rates are taken from."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.share < 1 and self.name != "canary":
            raise ValueError(f"a share is for the stage canary, not for {self.name}")
        if round(self.share, 3) != self.share:
            raise ValueError(f"a share in whole thousandths; {self.share} is none")
        return self

    @property
    def title(self) -> str:
        """The name, and a canary's share."""
        return f"{self.name} {100 * self.share:g} %" if self.share < 1 else self.name

    @property
    def bin_s(self) -> float:
        """Length of the spans that a canary's events are counted in: at most 64 until the horizon."""
        return max(self.look_every_s, self.horizon_s / 64)


class Plan(BaseModel):
    """Stages in their order; the last is `all`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stages: list[Stage] = Field(min_length=1, max_length=12)

    @model_validator(mode="after")
    def _order(self) -> Self:
        places = [(_ORDER.index(stage.name), stage.share) for stage in self.stages]
        rising = all(before < after for before, after in itertools.pairwise(places))
        if not rising or self.stages[-1].name != "all":
            raise ValueError(
                "stages go shadow, canary, all; each at most once, but a canary again with a larger "
                f"share, and the last is all; found {', '.join(one.title for one in self.stages)}"
            )
        return self


def parse_plan(content: object) -> Plan:
    """The plan in JSON or TOML values. Raises ConfigError that names the key."""
    try:
        return Plan.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"not a rollout plan: {first_problem(error)}") from error


FIRST = Plan(stages=[Stage(name="all", min_parts=0)])
"""For a line without a champion: there is nothing to compare with."""
USUAL = Plan(
    stages=[
        Stage(name="shadow"),
        Stage(name="canary", devices=1, share=0.05, min_parts=20),
        Stage(name="canary", devices=1, share=0.25, min_parts=100),
        Stage(name="canary", devices=1),
        Stage(name="all", min_parts=0),
    ]
)


def choose(stage: Stage, line: Sequence[str], seed: str) -> list[str]:
    """The devices of `stage` among those of the line, sorted by name.

    A number is drawn by the hash of `seed` and name: random for the line, the same after a restart.
    Raises ConfigError where the stage names a device that is not the line's, or wants too many.
    """
    if stage.devices == "all":
        return sorted(line)
    if isinstance(stage.devices, int):
        if stage.devices > len(line):
            raise ConfigError(
                f"stage {stage.name} wants {stage.devices} devices", found=f"{len(line)}"
            )
        drawn = sorted(line, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        return sorted(drawn[: stage.devices])
    strange = sorted(set(stage.devices) - set(line))
    if strange:
        raise ConfigError(
            f"stage {stage.name} names devices that are not of the line", found=", ".join(strange)
        )
    return sorted(set(stage.devices))
