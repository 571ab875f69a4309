"""The training loop: locate and decide at once, within a budget of wall time, from checkpoint to checkpoint."""

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fleet_contract.clock import Clock
from fleet_contract.errors import LoupeError
from trainer.augment import Batches
from trainer.checkpoint import Slot
from trainer.config import TrainerConfig
from trainer.data.images import Images
from trainer.losses import Batch, decide_loss, kinds_loss, locate_loss
from trainer.network import InspectionNet, make_network
from trainer.weights import load_weights

_WARM_UP = 0.05
_WARM_RATE = 0.25
"""Of the learning rate, where training goes on from earlier weights."""
_TRUNK_RATE = 0.3
"""Of the learning rate, for a trunk that comes with weights."""
_EMA_DECAY = 0.99
_WEIGHT_DECAY = 0.02
_GRADIENT_NORM = 5.0
_DECISION_WEIGHT = 0.5
_SMOOTH = 0.98
"""Of the loss that progress is judged by."""
_BETTER = 0.99
"""A loss below this share of the least one so far is progress."""
_EARLIEST = 0.4
"""Share of the training before which it is not cut short."""
_CHANCE = 0.66
"""Loss of a decision that knows nothing is 0.69 (one bit)."""


class TrainingError(LoupeError):
    """Training cannot go on; what was learnt is not usable."""


class NotConvergedError(TrainingError):
    """The training ended, and the model decides no better than by chance."""


class StoppedError(LoupeError):
    """Training was told to stop (cancelled, or its lease was lost)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands after a step."""

    step: int
    share: float
    """Of the budget or of the steps, whichever is further: 0 to 1."""
    loss: float
    learning_rate: float
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


_LEAST_STEPS = 100
"""Fewer steps say nothing of convergence."""


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

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"model": self.model.state_dict(), "updates": self._updates}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._updates = int(state["updates"])


def _values(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


@dataclass(frozen=True, slots=True)
class Setting:
    """What a training is given beside its images."""

    config: TrainerConfig
    view: tuple[int, int]
    """Height and width of the graph's input."""
    seed: int
    time_budget_s: float
    start: bytes | None = None
    """Weights of an earlier bundle (`trainer.weights`), gone on from at a lower learning rate where
    they are of the same network."""
    shares: NDArray[np.float64] | None = None
    """What was done of an earlier training after each of its steps: in place of the clock."""
    checkpoint: Slot | None = None


def train(images: Images, setting: Setting, clock: Clock, report: Report) -> InspectionNet:
    """The trained network, in evaluation mode.

    The same seed gives the same weights where the steps (`train.epochs`), not the budget, end the
    training, on the same machine and the same number of threads; so do `shares`. Raises
    TrainingError where the loss is no number, NotConvergedError where nothing was learnt,
    StoppedError where `report` says so.
    """
    return _Training(images, setting, clock).run(report)


class _Training:
    """One training's state, as far as a checkpoint must hold it."""

    def __init__(self, images: Images, setting: Setting, clock: Clock) -> None:
        settings = setting.config.train
        torch.manual_seed(setting.seed)
        torch.set_num_threads(settings.threads or os.cpu_count() or 1)
        self._device = _device()
        self._narrow = _narrow(self._device)
        kinds = len(images.classes) if settings.family == "supervised" else 0
        channels = images.pixels.shape[3]
        model = make_network(settings.network, channels, settings.width_factor, kinds)
        warm = setting.start is not None and load_weights(model, setting.start)
        self._peak = settings.learning_rate * (_WARM_RATE if warm else 1.0)
        self._model = model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = Average(self._model)
        self._optimizer = _optimizer(
            self._model, self._peak, pretrained=settings.network == "pretrained"
        )
        self._batches = Batches(images, setting.config.augment, settings.batch, setting.view,
                                settings.anomalies, setting.seed)  # fmt: skip
        self._setting, self._clock = setting, clock
        self._steps = max(1, settings.epochs * len(images) // settings.batch)
        self._step, self._share, self._used_s = 0, 0.0, 0.0
        self._smooth = Smooth()

    def run(self, report: Report) -> InspectionNet:
        self._resume()
        budget = Budget(self._setting.time_budget_s, self._steps,
                        self._clock.monotonic() - self._used_s)  # fmt: skip
        while self._share < 1:
            loss = self._learn(self._batches.next())
            self._average.update(self._model)
            self._step += 1
            now_s = self._clock.monotonic()
            self._used_s = now_s - budget.start_s
            self._share = self._shares(budget, now_s)
            self._save(now_s)
            rate = self._optimizer.param_groups[-1]["lr"]
            if report(
                Progress(self._step, self._share, loss, rate, _left(budget, self._share, now_s))
            ):
                raise StoppedError("training was stopped")
            if self._setting.shares is None and self._smooth.stuck(
                self._share, self._setting.config.train.patience
            ):
                break
        return self._finished()

    def _shares(self, budget: "Budget", now_s: float) -> float:
        shares = self._setting.shares
        if shares is None:
            return budget.share(self._step, now_s)
        # An earlier training that was cut short ends with its last step.
        return 1.0 if self._step >= len(shares) else float(shares[self._step - 1])

    def _learn(self, batch: Batch) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = _rate(self._peak, self._share) * group["factor"]
        self._model.train()
        batch = batch.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._narrow):
            seen = self._model.look(batch.image)
        decision = decide_loss(seen.peak.float(), batch)
        loss = _DECISION_WEIGHT * decision + locate_loss(seen.mask.float(), batch)
        if seen.whole is not None:
            loss = loss + decide_loss(seen.whole.float(), batch)
        if seen.kinds is not None:
            loss = loss + kinds_loss(seen.kinds.float(), batch)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                "the loss is no number",
                found=f"{value} after {self._share:.0%} of the training",
                remedy="Lower train.learning_rate, or look for broken images in the data set.",
            )
        self._smooth.add(value, decision.item(), self._share)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), _GRADIENT_NORM)
        self._optimizer.step()
        return float(value)

    def _finished(self) -> InspectionNet:
        if self._smooth.decision > _CHANCE and self._step >= _LEAST_STEPS:
            raise NotConvergedError(
                "the training did not converge: the model decides no better than by chance",
                expected=f"a loss of the decision below {_CHANCE}",
                found=f"{self._smooth.decision:.2f} after {self._step} steps",
                remedy="Look at the labels (`loupe-trainer validate`), give it more time "
                "(train.time_budget), or lower train.learning_rate.",
            )
        # litert_torch reads weights as if they lay contiguous, whatever their strides say.
        return self._average.model.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]

    def _save(self, now_s: float) -> None:
        slot = self._setting.checkpoint
        if slot is not None and slot.due(now_s):
            slot.write(now_s, {
                "model": self._model.state_dict(), "average": self._average.state,
                "optimizer": self._optimizer.state_dict(), "batches": self._batches.state,
                "torch": torch.get_rng_state(), "smooth": self._smooth.state,
                "step": self._step, "share": self._share, "used_s": self._used_s,
            })  # fmt: skip

    def _resume(self) -> None:
        slot = self._setting.checkpoint
        state = None if slot is None else slot.read()
        if state is None:
            return
        self._model.load_state_dict(state["model"])
        self._average.state = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._batches.state = state["batches"]
        torch.set_rng_state(state["torch"])
        self._smooth.state = state["smooth"]
        self._step, self._share, self._used_s = state["step"], state["share"], state["used_s"]


def learns_on() -> str:
    """The device that trainings of this machine run on, and the type that it multiplies."""
    device = _device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return f"{name}, {'bfloat16' if _narrow(device) else 'float32'}"


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _narrow(device: torch.device) -> bool:
    """Whether it learns in bfloat16: GPUs, and CPUs with matrix units (AMX), do so twice as fast."""
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16", False))


class Smooth:
    """The loss without its noise, and when it was last better."""

    def __init__(self) -> None:
        self.loss, self.decision = math.nan, math.nan
        self._least, self._least_at, self._since = math.inf, 0.0, 0

    def add(self, loss: float, decision: float, share: float) -> None:
        """After a step at `share` of the training."""
        first = math.isnan(self.loss)
        self.loss = loss if first else _SMOOTH * self.loss + (1 - _SMOOTH) * loss
        self.decision = decision if first else _SMOOTH * self.decision + (1 - _SMOOTH) * decision
        self._since += 1
        if self.loss < self._least * _BETTER:
            self._least, self._least_at, self._since = self.loss, share, 0

    def stuck(self, share: float, patience: float) -> bool:
        """Whether the loss has not been better for `patience` of the training."""
        long = share - self._least_at >= patience and self._since >= _LEAST_STEPS
        return share >= _EARLIEST and long

    @property
    def state(self) -> list[float]:
        """For a checkpoint."""
        return [self.loss, self.decision, self._least, self._least_at, self._since]

    @state.setter
    def state(self, values: list[float]) -> None:
        self.loss, self.decision, self._least, self._least_at, since = values
        self._since = int(since)


def _left(budget: Budget, share: float, now_s: float) -> float:
    used_s = now_s - budget.start_s
    return min(budget.seconds - used_s, used_s / share - used_s) if share else budget.seconds


def _optimizer(model: InspectionNet, peak: float, *, pretrained: bool) -> torch.optim.Optimizer:
    trunk = [p for p in model.trunk.parameters() if p.requires_grad]
    rest = [
        p
        for name, p in model.named_parameters()
        if p.requires_grad and not name.startswith("trunk.")
    ]
    return torch.optim.AdamW(
        [{"params": trunk, "factor": _TRUNK_RATE if pretrained else 1.0},
         {"params": rest, "factor": 1.0}],
        peak, weight_decay=_WEIGHT_DECAY,
    )  # fmt: skip


def _rate(peak: float, share: float) -> float:
    """Linear warm-up, then a cosine to a hundredth."""
    warm = min(share / _WARM_UP, 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return peak * max(warm * cosine, 0.01)
