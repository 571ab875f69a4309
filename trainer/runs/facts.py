"""What a bundle carries so that its training can be done again: configuration, facts, schedule.

The learning rate and the losses follow the share of the training that is done, and that share
follows the clock where a time budget rules. So the share after every step is kept: with it another
training takes the very same steps, however fast its machine is.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from fleet_contract.errors import BundleError
from fleet_contract.manifest import Lineage
from fleet_contract.messages import first_problem
from fleet_contract.names import Digest
from trainer.config import TrainerConfig
from trainer.runs.machine import Fact, Hardware, hardware
from trainer.runs.values import config_of, values_of

CONFIG, FACTS, SHARES = "training/config.json", "training/run.json", "training/shares.npz"
Shares = NDArray[np.float64]
"""[steps] how much of one training was done after each step, in (0, 1]."""


class TrainingFacts(Fact):
    """`training/run.json` of a bundle."""

    v: Literal[1] = 1
    steps: list[int]
    """Done, by member of the ensemble."""
    seed: int
    threads: int = Field(ge=1)
    dataset: Digest
    """The stored version; of a smoke run, the one that the sample was taken from."""
    smoke: bool = False
    start: Digest | None = None
    """The bundle whose weights the training went on from."""
    schedule: Literal["steps", "recorded", "unknown"]
    """Steps alone decided when it ended; or `training/shares.npz` says how it went; or it went on
    after a kill, and of the first steps nothing is known."""
    code: str
    environment: dict[str, str]
    hardware: Hardware
    device: str = "cpu"
    """What the network was trained on: `cpu`, or the name of a GPU."""


class ShareLog:
    """Collects the share after each step of every member's training."""

    def __init__(self, earlier: Mapping[int, Mapping[int, float]] | None = None) -> None:
        """`earlier`: by member, of the steps before a kill, where the training goes on after one."""
        self._earlier = {member: dict(steps) for member, steps in (earlier or {}).items()}
        self._now: dict[int, dict[int, float]] = {}

    def add(self, step: int, share: float, member: int = 0) -> None:
        """After step `step` (from 1) of a member's training."""
        if member not in self._now:
            # Those after the checkpoint that it goes on from are done again.
            before = self._earlier.get(member, {}).items()
            self._now[member] = {done: share for done, share in before if done < step}
        self._now[member][step] = share

    def steps(self) -> list[int]:
        """How many steps each member took."""
        return [max(training) for training in self._trainings()]

    def shares(self) -> list[Shares] | None:
        """By member; None where a step is missing."""
        result = []
        for training, steps in zip(self._trainings(), self.steps(), strict=True):
            if len(training) < steps:
                return None
            result.append(np.array([training[step + 1] for step in range(steps)], np.float64))
        return result

    def _trainings(self) -> list[dict[int, float]]:
        every = {**self._earlier, **self._now}
        return [every[member] for member in sorted(every)]


@dataclass(frozen=True, slots=True)
class Trained:
    """How a bundle was trained, as it says itself."""

    config: TrainerConfig
    facts: TrainingFacts
    shares: list[Shares] | None
    """None where steps alone decide, or where the schedule is not known."""


def by_steps_alone(shares: list[Shares]) -> bool:
    """Whether the shares are those of a training that no clock ruled."""
    return all(np.array_equal(one, np.arange(1, len(one) + 1) / len(one)) for one in shares)


def training_files(
    config: TrainerConfig,
    lineage: Lineage,
    log: ShareLog,
    *,
    dataset: str,
    threads: int,
    smoke: bool = False,
    start: str | None = None,
    device: str = "cpu",
) -> dict[str, bytes]:
    """The files of a bundle, by name. The other values: see TrainingFacts."""
    shares = log.shares()
    kept = shares is not None and not by_steps_alone(shares)
    facts = TrainingFacts(
        steps=log.steps(), seed=config.train.seed, threads=threads, dataset=dataset, smoke=smoke,
        start=start, schedule="unknown" if shares is None else "recorded" if kept else "steps",
        code=lineage.code, environment=lineage.environment, hardware=hardware(), device=device,
    )  # fmt: skip
    files = {
        CONFIG: json.dumps(values_of(config), indent=1).encode(),
        FACTS: facts.model_dump_json(indent=1).encode(),
    }
    if shares is not None and kept:
        files[SHARES] = _pack(shares)
    return files


def how_trained(files: Mapping[str, bytes]) -> Trained:
    """From a bundle's files. Raises BundleError where they are missing or broken, ConfigError."""
    missing = [name for name in (CONFIG, FACTS) if name not in files]
    if missing:
        raise BundleError(
            "the bundle does not say how it was trained",
            expected=", ".join(missing),
            remedy="Only bundles of this version of loupe-trainer, or a later one, carry it.",
        )
    facts = _facts(files[FACTS])
    try:
        values = json.loads(files[CONFIG])
    except json.JSONDecodeError as error:
        raise BundleError(f"{CONFIG} is not JSON: {error}") from error
    shares = _unpack(files.get(SHARES, b"")) if facts.schedule == "recorded" else None
    return Trained(config_of(values, CONFIG), facts, shares)


def _facts(data: bytes) -> TrainingFacts:
    try:
        return TrainingFacts.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(f"{FACTS} is not valid: {first_problem(error)}") from error


def _pack(shares: list[Shares]) -> bytes:
    buffer = io.BytesIO()
    arrays = {f"{index:02d}": one for index, one in enumerate(shares)}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpack(data: bytes) -> list[Shares]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return [np.asarray(arrays[name], np.float64) for name in sorted(arrays.files)]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{SHARES} cannot be read: {error}") from error
