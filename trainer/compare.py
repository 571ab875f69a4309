"""Is a challenger better than the champion? Paired, on the same holdout, by whole parts."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trainer.measures import Scores, Truth, auroc

Outcome = Literal["better", "not_worse", "worse", "undecided"]

MAY_SHIP: frozenset[Outcome] = frozenset(("better", "not_worse", "undecided"))
"""Outcomes after which a worker submits the challenger; people and gates decide further."""
AUROC_MARGIN = 0.02
"""How far below the champion's AUROC a challenger may lie and still be called not worse."""
_RESAMPLES = 1000
_CONFIDENCE = 0.95
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Side:
    """What one bundle said of the holdout, at its shipped threshold."""

    scores: Scores
    rejected: Truth


def compare(
    champion: Side, challenger: Side, defective: Truth, groups: list[str], seed: int = 0
) -> dict[str, Any]:
    """The outcome, why, and the numbers it was made on, as JSON values.

    Two views of the same parts: the difference of AUROC, by a bootstrap over parts (Efron 1979),
    and the verdicts on which they differ, by McNemar's exact test (1947).
    """
    difference = _difference(champion, challenger, defective)
    low, high = _interval(champion, challenger, defective, groups, seed)
    gained, lost = _discordant(champion, challenger, defective)
    p_value = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    outcome, why = decide(difference, low, high, gained, lost, p_value)
    return {
        "outcome": outcome,
        "why": why,
        "images": len(defective),
        "parts": len(set(groups)),
        "auroc": {
            "champion": auroc(champion.scores, defective),
            "challenger": auroc(challenger.scores, defective),
            "difference": difference, "low": low, "high": high,
        },
        "verdicts": {"challenger_right": gained, "champion_right": lost, "p_value": p_value},
    }  # fmt: skip


def decide(
    difference: float, low: float, high: float, gained: int, lost: int, p_value: float
) -> tuple[Outcome, str]:
    """The outcome of the numbers: `gained` verdicts only the challenger has right, `lost` the champion."""
    span = f"AUROC {difference:+.3f} ({low:+.3f} to {high:+.3f})"
    verdicts = f"{gained} verdicts gained and {lost} lost (p {p_value:.3f})"
    significant = p_value < _SIGNIFICANT
    if high < 0 or (significant and lost > gained):
        return "worse", f"{span}; {verdicts}"
    if low > 0 or (significant and gained > lost):
        return "better", f"{span}; {verdicts}"
    if low >= -AUROC_MARGIN:
        return "not_worse", f"{span} stays within {AUROC_MARGIN}; {verdicts}"
    return "undecided", f"{span} may be below -{AUROC_MARGIN}; {verdicts}"


def _difference(champion: Side, challenger: Side, defective: Truth) -> float:
    old, new = auroc(champion.scores, defective), auroc(challenger.scores, defective)
    return new - old if old is not None and new is not None else 0.0


def _discordant(champion: Side, challenger: Side, defective: Truth) -> tuple[int, int]:
    right = challenger.rejected == defective
    was_right = champion.rejected == defective
    return int((right & ~was_right).sum()), int((~right & was_right).sum())


def _interval(
    champion: Side, challenger: Side, defective: Truth, groups: list[str], seed: int
) -> tuple[float, float]:
    names = sorted(set(groups))
    members = [np.flatnonzero(np.array(groups) == name) for name in names]
    # Parts are drawn within their own kind, so that no resample lacks defects.
    kinds = np.array([bool(defective[indices].any()) for indices in members])
    strata = [np.flatnonzero(kinds == kind) for kind in (False, True)]
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(_RESAMPLES):
        drawn = np.concatenate([rng.choice(s, len(s)) for s in strata if len(s)])
        chosen: NDArray[np.intp] = np.concatenate([members[int(index)] for index in drawn])
        sides = [Side(s.scores[chosen], s.rejected[chosen]) for s in (champion, challenger)]
        differences.append(_difference(sides[0], sides[1], defective[chosen]))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)
