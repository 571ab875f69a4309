"""A leased run, as a worker reads it."""

from dataclasses import dataclass
from typing import Any

from fleet_contract.errors import ConfigError
from trainer.config import TrainerConfig, parse_config


@dataclass(frozen=True, slots=True)
class Job:
    """A leased run."""

    id: str
    line: str
    dataset: str
    champion: str | None
    incident: str
    checkpoint: str | None
    """Digest of what an earlier worker left of it."""
    checkpoint_limit: int
    """Bytes of the largest one that the server takes."""
    config: TrainerConfig
    lease_s: float


def parse_job(lease: dict[str, Any]) -> Job:
    """Raises ConfigError where the run's configuration is wrong, or a field is missing."""
    try:
        config = parse_config(str(lease["config"]), f"configuration of line {lease['line']}")
        # The line's epoch is the floor that the server signs; a bundle below it would not be taken.
        epoch = max(config.bundle.epoch, int(lease["epoch"]))
        bundle = config.bundle.model_copy(update={"epoch": epoch})
        return Job(
            id=str(lease["id"]),
            line=str(lease["line"]),
            dataset=str(lease["dataset"]),
            champion=lease.get("champion"),
            incident="" if lease.get("incident") is None else str(lease["incident"]),
            checkpoint=lease.get("checkpoint"),
            checkpoint_limit=int(lease["checkpoint_limit"]),
            config=config.model_copy(update={"bundle": bundle}),
            lease_s=float(lease["lease_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"the server's run is not usable: {error!r}") from error
