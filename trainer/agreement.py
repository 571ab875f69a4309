"""How well appraisers judge, and how well they agree: people, models, devices side by side.

The attribute agreement analysis of the AIAG's *Measurement Systems Analysis* (4th edition, chapter
III, section C), with one trial an appraiser and image. The reference is the data set's label.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.measures.rates import Rate, Truth, escape, exact_rate, overkill

Decisions = NDArray[np.int8]
"""[n]: 1 reject, 0 accept, -1 not appraised."""

_ACCEPTABLE = {"effectiveness": 0.90, "miss_rate": 0.02, "false_alarm_rate": 0.05}
_MARGINAL = {"effectiveness": 0.80, "miss_rate": 0.05, "false_alarm_rate": 0.10}
"""Bounds of the AIAG's table of acceptability."""


@dataclass(frozen=True, slots=True)
class Appraiser:
    """One appraiser against the reference."""

    name: str
    kind: str
    """`person` or `model`."""
    effectiveness: Rate
    """Right decisions over decisions."""
    miss: Rate
    """Accepted defective over defective."""
    false_alarm: Rate
    """Rejected good over good."""
    kappa: float | None
    """Cohen's, with the reference; None where chance alone would agree."""

    def to_json(self) -> dict[str, Any]:
        """The fields, and `rating`."""
        return {"name": self.name, "kind": self.kind,
                "effectiveness": self.effectiveness.to_json(), "miss_rate": self.miss.to_json(),
                "false_alarm_rate": self.false_alarm.to_json(), "kappa": self.kappa,
                "rating": self.rating()}  # fmt: skip

    def rating(self) -> str:
        """`acceptable`, `marginal` or `unacceptable`: the worst of the three; '' without figures."""
        rates = {"effectiveness": self.effectiveness.rate, "miss_rate": self.miss.rate,
                 "false_alarm_rate": self.false_alarm.rate}  # fmt: skip
        known = {name: rate for name, rate in rates.items() if rate is not None}
        if not known:
            return ""
        for bounds, word in ((_ACCEPTABLE, "acceptable"), (_MARGINAL, "marginal")):
            if all(_keeps(name, rate, bounds[name]) for name, rate in known.items()):
                return word
        return "unacceptable"


def _keeps(name: str, rate: float, bound: float) -> bool:
    return rate >= bound if name == "effectiveness" else rate <= bound


def appraise(name: str, kind: str, decisions: Decisions, defective: Truth) -> Appraiser:
    """One appraiser's figures over what it decided."""
    seen = decisions >= 0
    rejected, truth = decisions[seen] == 1, defective[seen]
    right = exact_rate(int((rejected == truth).sum()), len(truth))
    return Appraiser(name, kind, right, escape(rejected, truth), overkill(rejected, truth),
                     cohen_kappa(rejected, truth))  # fmt: skip


def cohen_kappa(one: Truth, other: Truth) -> float | None:
    """Agreement beyond chance of two (Cohen 1960); None where chance alone would always agree."""
    if not len(one):
        return None
    observed = float((one == other).mean())
    p, q = float(one.mean()), float(other.mean())
    expected = p * q + (1 - p) * (1 - q)
    return (observed - expected) / (1 - expected) if expected < 1 else None


def fleiss_kappa(decisions: NDArray[np.int8]) -> float | None:
    """Agreement beyond chance of several (Fleiss 1971): [appraisers, n] of 0 and 1, none missing.

    None for fewer than two appraisers, no image, or where chance alone would always agree.
    """
    raters, count = decisions.shape
    if raters < 2 or not count:
        return None
    rejects = decisions.sum(axis=0).astype(np.float64)
    accepts = raters - rejects
    pairs = rejects * (rejects - 1) + accepts * (accepts - 1)
    observed = float((pairs / (raters * (raters - 1))).mean())
    share = float(rejects.sum() / (raters * count))
    expected = share**2 + (1 - share) ** 2
    return (observed - expected) / (1 - expected) if expected < 1 else None


def agreement(
    people: Mapping[str, Decisions], models: Mapping[str, Decisions], defective: Truth
) -> dict[str, Any]:
    """Appraisers, pairs and the human level beside the first model, as JSON values.

    Everybody is read on the images that every person appraised, so that the figures can stand side
    by side; where there is none, each on what it appraised. {} where no person appraised.
    """
    appraised = [decisions >= 0 for decisions in people.values()]
    if not np.any(appraised):
        return {}
    shared = np.all(appraised, axis=0)
    if not shared.any():
        shared = np.any(appraised, axis=0)
    truth = defective[shared]
    kinds = {**dict.fromkeys(people, "person"), **dict.fromkeys(models, "model")}
    seen = {name: decisions[shared] for name, decisions in {**people, **models}.items()}
    humans = np.stack([seen[name] for name in people])
    everyone = humans[:, (humans >= 0).all(axis=0)]
    return {
        "images": int(shared.sum()),
        "appraisers": [appraise(name, kinds[name], seen[name], truth).to_json() for name in seen],
        "pairs": [_pair(a, b, seen) for a, b in combinations(seen, 2)],
        "fleiss_kappa": fleiss_kappa(everyone),
        "human_level": _level([appraise(n, "person", seen[n], truth) for n in people], everyone),
    }


def _pair(one: str, other: str, seen: Mapping[str, Decisions]) -> dict[str, Any]:
    both = (seen[one] >= 0) & (seen[other] >= 0)
    a, b = seen[one][both] == 1, seen[other][both] == 1
    return {"pair": [one, other], "agree": exact_rate(int((a == b).sum()), len(a)).to_json(),
            "kappa": cohen_kappa(a, b)}  # fmt: skip


def _level(people: list[Appraiser], decisions: NDArray[np.int8]) -> dict[str, Any]:
    """What people reach: their mean against the reference, and how often all say the same."""
    agree = int((decisions == decisions[0]).all(axis=0).sum())
    return {
        "people": len(people),
        "effectiveness": _mean([one.effectiveness.rate for one in people]),
        "miss_rate": _mean([one.miss.rate for one in people]),
        "false_alarm_rate": _mean([one.false_alarm.rate for one in people]),
        "all_agree": exact_rate(agree, decisions.shape[1]).to_json() if len(people) > 1 else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
