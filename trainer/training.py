"""The training loop: locate on crops, then decide on whole images, within a budget of wall time."""

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fleet_contract.clock import Clock
from fleet_contract.errors import LoupeError
from trainer.augment import Batch, Batches
from trainer.config import TrainerConfig
from trainer.data.images import Images
from trainer.losses import decide_loss, locate_loss
from trainer.network import InspectionNet
from trainer.weights import load_weights

LOCATE_SHARE = 0.6
"""Share of the training that looks at crops, where there are masks."""
_WARM_UP = 0.05
_WARM_RATE = 0.25
"""Of the learning rate, where training goes on from earlier weights."""
_EMA_DECAY = 0.99
_WEIGHT_DECAY = 1e-4
_GRADIENT_NORM = 5.0


class TrainingError(LoupeError):
    """Training cannot go on; what was learnt is not usable."""


class StoppedError(LoupeError):
    """Training was told to stop (cancelled, or its lease was lost)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after a step."""

    step: int
    share: float
    """Of the budget or of the steps, whichever is further: 0 to 1."""
    loss: float
    left_s: float
    """Wall time that is left at most, in seconds."""


Report = Callable[[Progress], bool]
"""Told after every step; True stops the training."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Wall time and steps; whichever ends first ends the training."""

    seconds: float
    steps: int
    start_s: float

    def share(self, step: int, now_s: float) -> float:
        """How much is used, 0 to 1."""
        return min(max((now_s - self.start_s) / self.seconds, step / self.steps), 1.0)


class Average:
    """Exponential moving average of weights and BatchNorm statistics (Polyak 1992)."""

    def __init__(self, model: InspectionNet) -> None:
        self.model = copy.deepcopy(model).eval()
        self._updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves towards `model`; faster at the start, so that the beginning is forgotten."""
        self._updates += 1
        decay = min(_EMA_DECAY, (1 + self._updates) / (10 + self._updates))
        for mine, theirs in zip(_values(self.model), _values(model), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def _values(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def train(
    images: Images,
    config: TrainerConfig,
    clock: Clock,
    report: Report,
    start: bytes | None = None,
    shares: NDArray[np.float64] | None = None,
) -> InspectionNet:
    """The trained network, in evaluation mode.

    `start` are the weights of an earlier bundle (`trainer.weights`); they are gone on from, at a
    lower learning rate, where they are of the same network.

    The same seed gives the same weights where the steps (`train.epochs`), not the budget, end the
    training, on the same machine and the same number of threads; so do `shares`, what was done of
    an earlier training after each of its steps, in place of the clock. Raises TrainingError where the
    loss is no number, StoppedError where `report` says so.
    """
    settings = config.train
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    model = InspectionNet(config.input.channels, settings.width_factor)
    warm = start is not None and load_weights(model, start)
    peak = settings.learning_rate * (_WARM_RATE if warm else 1.0)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Average(model)
    optimizer = torch.optim.AdamW(model.parameters(), peak, weight_decay=_WEIGHT_DECAY)
    batches = Batches(images, config.augment, settings.batch, settings.seed)
    steps = max(1, settings.epochs * len(images) // settings.batch)
    budget = Budget(settings.time_budget, steps, clock.monotonic())
    step, share = 0, 0.0
    while share < 1:
        _set_rate(optimizer, peak, share)
        loss = _step(model, optimizer, _next(batches, share, settings.crop), share)
        average.update(model)
        step += 1
        now_s = clock.monotonic()
        share = budget.share(step, now_s) if shares is None else float(shares[step - 1])
        if report(Progress(step, share, loss, _left(budget, share, now_s))):
            raise StoppedError("training was stopped")
    # litert_torch reads weights as if they lay contiguous, whatever their strides say.
    return average.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def _left(budget: Budget, share: float, now_s: float) -> float:
    used_s = now_s - budget.start_s
    return min(budget.seconds - used_s, used_s / share - used_s) if share else budget.seconds


def _next(batches: Batches, share: float, crop: float) -> Batch:
    return batches.crops(crop) if share < LOCATE_SHARE and batches.locatable else batches.whole()


def _step(
    model: InspectionNet, optimizer: torch.optim.Optimizer, batch: Batch, share: float
) -> float:
    model.train()
    score, mask = model(batch.image)
    # Segmentation gives way to the decision, and stays as a tether of it (Bozic 2021, eq. 2).
    loss = max(1 - share, 0.3) * locate_loss(mask, batch) + decide_loss(score, batch)
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            "the loss is no number",
            found=f"{value} after {share:.0%} of the training",
            remedy="Lower train.learning_rate, or look for broken images in the data set.",
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_NORM)
    optimizer.step()
    return value


def _set_rate(optimizer: torch.optim.Optimizer, peak: float, share: float) -> None:
    """Linear warm-up, then a cosine to a hundredth."""
    warm = min(share / _WARM_UP, 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    rate = peak * max(warm * cosine, 0.01)
    for group in optimizer.param_groups:
        group["lr"] = rate
