"""A newly activated bundle on probation: it is judged by what it does with this device's parts. Pure."""

from dataclasses import dataclass

from edge_agent.config import ProbationConfig
from fleet_contract.names import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """How probation ended."""

    held: bool
    reason: str
    numbers: dict[str, float]


class Probation:
    """Counts parts until the bundle has held or failed; the end, once reached, stays."""

    def __init__(self, config: ProbationConfig, mean_score: float | None) -> None:
        self._config, self._reference = config, mean_score
        self._parts = self._faults = self._late = self._undecided = self._scores = 0
        self._total = 0.0

    def part(
        self, verdict: Verdict, score: float | None, *, late: bool, fault: bool
    ) -> Outcome | None:
        """One part that the bundle judged; the outcome as soon as it is certain."""
        self._parts += 1
        self._faults += fault
        self._late += late
        self._undecided += verdict is Verdict.NO_DECISION and not late and not fault
        if score is not None:
            self._scores += 1
            self._total += score
        return self._outcome()

    def _outcome(self) -> Outcome | None:
        limits, parts = self._config, self._config.parts
        if self._faults > limits.max_faults:
            return self._end(f"{self._faults} faults of the runtime in {self._parts} parts")
        if self._undecided > limits.max_no_decision * parts:
            return self._end(f"no decision on {self._undecided} of {self._parts} parts")
        if self._late > limits.max_late * parts:
            return self._end(f"{self._late} of {self._parts} verdicts after the deadline")
        if self._parts < parts:
            return None
        if self._shift() > limits.max_score_shift:
            return self._end(
                f"mean score {self._mean():.3f}, expected near {self._reference:.3f}"
                f" (at most {limits.max_score_shift} away)"
            )
        return self._end("")

    def _mean(self) -> float:
        return self._total / self._scores if self._scores else 0.0

    def _shift(self) -> float:
        if self._reference is None or not self._scores:
            return 0.0
        return abs(self._mean() - self._reference)

    def _end(self, reason: str) -> Outcome:
        numbers = {
            "parts": self._parts,
            "faults": self._faults,
            "late": self._late,
            "no_decision": self._undecided,
            "mean_score": round(self._mean(), 6),
            "score_shift": round(self._shift(), 6),
        }
        return Outcome(not reason, reason or f"held over {self._parts} parts", numbers)
