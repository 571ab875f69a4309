"""Is a challenger better than the champion? Paired, on the same holdout, by whole parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError
from fleet_contract.names import Verdict
from trainer.measures import Scores, Truth, auroc
from trainer.measures.bootstrap import Resamples, aurocs, interval

Outcome = Literal["better", "not_worse", "worse", "undecided"]

MAY_SHIP: frozenset[Outcome] = frozenset(("better", "not_worse", "undecided"))
"""Outcomes after which a worker submits the challenger; people and gates decide further."""
AUROC_MARGIN = 0.02
"""How far below the champion's AUROC a challenger may lie and still be called not worse."""
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Side:
    """What one bundle said of the holdout, at its shipped threshold."""

    scores: Scores
    """[n]; not a number where there is no decision."""
    rejected: Truth

    @property
    def decided(self) -> NDArray[np.bool_]:
        """[n]: whether there is a decision."""
        return ~np.isnan(self.scores)


def compare(
    champion: Side, challenger: Side, defective: Truth, groups: list[str], seed: int = 0
) -> dict[str, Any]:
    """The outcome, why, and the numbers it was made on, as JSON values.

    Two views of the same parts: the difference of AUROC on the images that both decided, by a
    bootstrap over parts (Efron 1979), and the verdicts, by an exact sign test over the parts of
    which one side has more images right than the other (McNemar 1947, where a part has one image).
    No decision is never right.
    """
    both = champion.decided & challenger.decided
    difference, low, high = _difference(champion, challenger, defective, groups, both, seed)
    gained, lost = _discordant(champion, challenger, defective, groups)
    p_value = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    outcome, why = decide(difference, low, high, gained, lost, p_value)
    return {
        "outcome": outcome,
        "why": why,
        "images": len(defective),
        "parts": len(set(groups)),
        "auroc": {
            "champion": auroc(champion.scores[both], defective[both]),
            "challenger": auroc(challenger.scores[both], defective[both]),
            "difference": difference, "low": low, "high": high,
        },
        "verdicts": {"challenger_right": gained, "champion_right": lost, "p_value": p_value},
        "no_decision": {"champion": int((~champion.decided).sum()),
                        "challenger": int((~challenger.decided).sum())},
        "escape": _moved(champion, challenger, defective),
        "overkill": _moved(champion, challenger, ~defective),
    }  # fmt: skip


def compare_evaluations(
    champion: Mapping[str, Any], challenger: Mapping[str, Any]
) -> dict[str, Any]:
    """`compare` of two evaluations of the same holdout.

    Raises DataError where they are of different holdouts, or carry no decisions.
    """
    old, new = _sorted_decisions(champion, "A"), _sorted_decisions(challenger, "B")
    if champion["holdout"] != challenger["holdout"]:
        raise DataError(
            "the two were measured on different holdouts and cannot be compared",
            expected=f"holdout {champion['holdout'][:12]} ({len(old)} images) for both",
            found=f"holdout {challenger['holdout'][:12]} ({len(new)} images) for the second",
            remedy="Evaluate both bundles on the same data set or CSV file.",
        )
    defective = np.array([one["label"] != GOOD for one in old], np.bool_)
    result = compare(_side(old), _side(new), defective, [str(one["part"]) for one in old])
    return {**result, "holdout": champion["holdout"],
            "models": [champion["model"], challenger["model"]]}  # fmt: skip


def decide(
    difference: float, low: float, high: float, gained: int, lost: int, p_value: float
) -> tuple[Outcome, str]:
    """The outcome of the numbers: `gained` parts that only the challenger has right, `lost` the champion."""
    span = f"AUROC {difference:+.3f} ({low:+.3f} to {high:+.3f})"
    verdicts = f"{gained} verdicts gained and {lost} lost (p {p_value:.3f})"
    significant = p_value < _SIGNIFICANT
    worse = high < 0 or (significant and lost > gained)
    better = low > 0 or (significant and gained > lost)
    if worse:
        return "worse", f"{span}; {verdicts}"
    if better:
        return "better", f"{span}; {verdicts}"
    if low >= -AUROC_MARGIN:
        return "not_worse", f"{span} stays within {AUROC_MARGIN}; {verdicts}"
    return "undecided", f"{span} may be below -{AUROC_MARGIN}; {verdicts}"


def _sorted_decisions(report: Mapping[str, Any], which: str) -> list[dict[str, Any]]:
    if not {"holdout", "decisions", "model"} <= report.keys():
        raise DataError(
            f"evaluation {which} cannot be compared",
            expected="the keys holdout, decisions and model",
            found=", ".join(sorted(report)[:12]) or "an empty object",
            remedy="Make it anew with `loupe-trainer evaluate BUNDLE --json`.",
        )
    return sorted(report["decisions"], key=lambda one: (one["image"], one["source"]))


def _side(decisions: list[dict[str, Any]]) -> Side:
    scores = [np.nan if one["score"] is None else float(one["score"]) for one in decisions]
    rejected = [one["verdict"] == Verdict.REJECT for one in decisions]
    return Side(np.array(scores, np.float64), np.array(rejected, np.bool_))


def _difference(
    champion: Side,
    challenger: Side,
    defective: Truth,
    groups: list[str],
    both: NDArray[np.bool_],
    seed: int,
) -> tuple[float, float, float]:
    """Of the AUROC, and its interval; without a part of either kind nothing is known of it."""
    truth = defective[both]
    resamples = Resamples([g for g, kept in zip(groups, both, strict=True) if kept], truth, seed)
    old, new = (auroc(side.scores[both], truth) for side in (champion, challenger))
    if old is None or new is None or not resamples.possible:
        return (new or 0.0) - (old or 0.0), -1.0, 1.0
    # The same draws for both: what makes parts hard for both falls out of the difference.
    drawn = [aurocs(resamples, side.scores[both], truth) for side in (challenger, champion)]
    return new - old, *interval(drawn[0] - drawn[1])


def _discordant(
    champion: Side, challenger: Side, defective: Truth, groups: list[str]
) -> tuple[int, int]:
    """Parts of which the challenger has more images right, and of which the champion has."""
    right = (challenger.rejected == defective) & challenger.decided
    was_right = (champion.rejected == defective) & champion.decided
    names, part = np.unique(np.array(groups), return_inverse=True)
    balance = np.zeros(len(names), np.int64)
    np.add.at(balance, part, right.astype(np.int64) - was_right.astype(np.int64))
    return int((balance > 0).sum()), int((balance < 0).sum())


def _moved(champion: Side, challenger: Side, chosen: Truth) -> dict[str, int]:
    """Images of `chosen` that one rejects and the other does not."""
    one, other = champion.rejected[chosen], challenger.rejected[chosen]
    return {"images": int(chosen.sum()), "only_champion_rejects": int((one & ~other).sum()),
            "only_challenger_rejects": int((other & ~one).sum())}  # fmt: skip
