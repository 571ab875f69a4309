"""From raw logits to scores that mean the same on every line: the threshold lies at one half.

A part counts once, by its worst image: images of one part say nearly the same, and fifty of them
promise no more than their ten parts do.

Threshold and spread are put into the last layer, so that scores do not all lie at 0 or 1, where
neither drift nor a wrong channel order could be seen. The threshold stays in the manifest, and can
be moved without a new model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from trainer.config import ThresholdTable
from trainer.data.images import Images
from trainer.measures import conformal_escape_threshold, conformal_threshold
from trainer.member import Ensemble, combined, probability

THRESHOLD = 0.5
"""Of a single model; an ensemble's is chosen on what its members say together."""
_GOOD_LOGIT = -2.5
"""Where the median good part comes to lie: a score of 0.08."""
_MARGIN = 1e-3
"""float32 rounds: a good score at the threshold must come out below it."""
_LEAST = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """What the threshold was chosen for, on how many parts, and where it lies."""

    bound: str
    """`overkill` or `escape`."""
    at_most: float
    """May be wider than was asked for, where there were too few parts to promise less."""
    parts: int
    threshold: float

    def to_json(self) -> dict[str, float | str]:
        """For the manifest."""
        side = "good" if self.bound == "overkill" else "defective"
        return {f"{self.bound}_at_most": round(self.at_most, 4), f"{side}_parts": self.parts,
                "method": f"conformal quantile of held-out {side} parts, each by its worst image"}  # fmt: skip


def calibrate(ensemble: Ensemble, held_out: Images, table: ThresholdTable) -> Promise:
    """Moves and scales every member's score so that the threshold for the promise lies at one half.

    `held_out` are parts that were not trained on: good ones, and defective ones where the promise is
    of escapes. With fewer than 1/a - 1 parts of the kind a rate of `a` cannot be promised: the
    threshold then lies beyond all of them, which promises 1/(n + 1). Raises DataError below 5.
    """
    defective = held_out.defective
    chosen = np.flatnonzero(defective if table.promise == "escape" else ~defective)
    parts = [held_out.items[int(index)].group for index in chosen]
    count = len(set(parts))
    if count < _LEAST:
        kind = "defective" if table.promise == "escape" else "good"
        raise DataError(
            f"too few {kind} parts to choose a threshold on",
            expected=f"{_LEAST} or more parts kept out of training", found=str(count),
            remedy=f"Add images of {kind} parts, or raise threshold.calibration_share.",
        )  # fmt: skip
    asked = table.escape_at_most if table.promise == "escape" else table.overkill_at_most
    promised = max(asked, 1 / (count + 1))
    logits = ensemble.member_logits(held_out)
    for place, member in enumerate(ensemble.members):
        limit = _threshold(logits[place][chosen], parts, promised, table.promise)
        good = float(np.median(logits[place][~defective]))
        # A promise of escapes may lie below the median good part: then the spread of all is the measure.
        spread = max(limit - good, 0.1 * float(logits[place].std()), 1e-3)
        scale = -_GOOD_LOGIT / spread
        shift = -limit * scale - _MARGIN
        member.calibrate(scale, shift)
        logits[place] = logits[place] * scale + shift
    if len(ensemble.members) == 1:
        return Promise(table.promise, promised, count, THRESHOLD)
    together = combined(probability(logits), ensemble.rule)[chosen]
    limit = min(_threshold(together, parts, promised, table.promise) + _MARGIN, 1.0)
    return Promise(table.promise, promised, count, limit)


def _threshold(
    scores: NDArray[np.float64], parts: list[str], at_most: float, promise: str
) -> float:
    escape = promise == "escape"
    worst: dict[str, float] = {}
    for part, score in zip(parts, scores.tolist(), strict=True):
        known = worst.get(part, score)
        worst[part] = min(known, score) if escape else max(known, score)
    choose = conformal_escape_threshold if escape else conformal_threshold
    threshold = choose(np.array(list(worst.values())), at_most)
    if threshold is None:
        raise DataError(f"no threshold keeps {promise} at {at_most:.3f}")
    return threshold
