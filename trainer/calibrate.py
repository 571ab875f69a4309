"""From raw logits to scores that mean the same on every line: the threshold lies at one half.

Threshold and spread are put into the last layer, so that scores do not all lie at 0 or 1, where
neither drift nor a wrong channel order could be seen. The threshold stays in the manifest, and can
be moved without a new model.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from trainer.measures import conformal_threshold
from trainer.network import InspectionNet

THRESHOLD = 0.5
_GOOD_LOGIT = -2.5
"""Where the median good part comes to lie: a score of 0.08."""
_BATCH = 16
_LEAST_GOOD = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """What the threshold was chosen for, and on how many good parts."""

    overkill_at_most: float
    """May be wider than was asked for, where there were too few good parts to promise less."""
    good_parts: int

    def to_json(self) -> dict[str, float | str]:
        """For the manifest."""
        return {"overkill_at_most": round(self.overkill_at_most, 4), "good_parts": self.good_parts,
                "method": "conformal quantile of held-out good scores"}  # fmt: skip


@torch.no_grad()
def logits(model: InspectionNet, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[n] float64, the score's logit of each of `pixels` ([n, h, w, c] uint8)."""
    result = []
    for start in range(0, len(pixels), _BATCH):
        chunk = np.ascontiguousarray(pixels[start : start + _BATCH].transpose(0, 3, 1, 2))
        result.append(model(torch.from_numpy(chunk).float())[0].numpy().reshape(-1))
    return np.concatenate(result).astype(np.float64)


@torch.no_grad()
def calibrate(
    model: InspectionNet,
    good: NDArray[np.float64],
    overkill_at_most: float,
) -> Promise:
    """Moves and scales the model's score so that the threshold for the promise lies at one half.

    `good` are logits of good parts that were not trained on. With fewer than 1/a - 1 of them an
    overkill of `a` cannot be promised: the threshold then lies above all of them, which promises
    1/(n + 1). Raises DataError below 5 good parts.
    """
    if len(good) < _LEAST_GOOD:
        raise DataError(
            "too few good parts to choose a threshold on",
            expected=f"{_LEAST_GOOD} or more kept out of training",
            found=str(len(good)),
            remedy="Add images of good parts, or raise threshold.calibration_share.",
        )
    promised = max(overkill_at_most, 1 / (len(good) + 1))
    threshold = conformal_threshold(good, promised)
    if threshold is None:
        raise DataError(f"no threshold keeps overkill at {promised:.3f}")
    spread = max(threshold - float(np.median(good)), 1e-3)
    scale = -_GOOD_LOGIT / spread
    # float32 rounds: a good score at the threshold must come out below it.
    margin = 1e-3
    model.decide.weight.mul_(scale)
    model.decide.bias.copy_((model.decide.bias - threshold) * scale - margin)
    return Promise(promised, len(good))


def probability(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic function."""
    return 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
