"""Which parts' images are sent for review, within quotas an hour and a day. Pure: values and times in."""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.config import SamplesConfig
from edge_agent.spool import Value
from fleet_contract.names import Verdict

Why = Literal["reject", "near_threshold", "audit", "disagreement", "requested"]

WORTH: dict[Why, Value] = {
    "audit": Value.AUDIT_SAMPLE,
    "near_threshold": Value.NEAR_SAMPLE,
    "reject": Value.REJECT_SAMPLE,
    "disagreement": Value.WANTED_SAMPLE,
    "requested": Value.WANTED_SAMPLE,
}


def drawn(seed: str, part: int, share: float) -> bool:
    """Whether `part` is in a random share of all parts.

    By its number, not by chance: a part that is judged again after a restart is drawn again.
    """
    draw = hashlib.sha256(f"{seed}:{part}".encode()).digest()[:8]
    return int.from_bytes(draw, "big") < share * 2**64


@dataclass(slots=True)
class Quota:
    """A token bucket: `per_hour` an hour, and as many at once at most."""

    per_hour: int
    tokens: float = field(init=False)
    at_s: float | None = None

    def __post_init__(self) -> None:
        self.tokens = float(self.per_hour)

    def take(self, now_s: float) -> bool:
        """Whether one more is allowed at monotonic `now_s`; takes it if so."""
        self._refill(now_s)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def took(self, at_s: float) -> None:
        """One was taken at monotonic `at_s`, in a run of the agent before this one."""
        self._refill(at_s)
        self.tokens = max(self.tokens - 1, 0)

    def _refill(self, now_s: float) -> None:
        if self.at_s is not None:
            refill = (now_s - self.at_s) * self.per_hour / 3600
            self.tokens = min(float(self.per_hour), self.tokens + refill)
        self.at_s = now_s


DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A sample that counts in the quotas; times are monotonic, and may lie before the boot."""

    why: Why
    at_s: float


class SamplePolicy:
    """Chooses at most one reason for a part."""

    def __init__(self, config: SamplesConfig, seed: str, kept: Sequence[Kept]) -> None:
        """`kept` are the samples of the last day, in order: a new run has no new quota."""
        self._config, self._seed = config, seed
        self._quotas: dict[str, Quota] = {
            "audit": Quota(config.audit_per_hour),
            "reject": Quota(config.rejects_per_hour),
            "near_threshold": Quota(config.near_per_hour),
            "disagreement": Quota(config.disagreements_per_hour),
        }
        self._day = deque(kept)
        for one in kept:
            self._quotas[one.why].took(one.at_s)

    def by(self, config: SamplesConfig) -> "SamplePolicy":
        """The same by other settings: what was kept so far counts in the new quotas."""
        return SamplePolicy(config, self._seed, list(self._day))

    def choose(
        self,
        part: int,
        verdict: Verdict,
        score: float | None,
        *,
        threshold: float,
        near_margin: float,
        requested: bool,
        now_s: float,
    ) -> Why | None:
        """Why the part's image is sent, or None. The audit sample is random but repeatable."""
        reasons: list[Why] = []
        if drawn(self._seed, part, self._config.audit_share):
            reasons.append("audit")
        if score is not None and abs(score - threshold) < near_margin:
            reasons.append("near_threshold")
        if verdict is Verdict.REJECT:
            reasons.append("reject")
        if requested:
            return "requested"
        return next((why for why in reasons if self._take(why, now_s)), None)

    def disagreement(self, now_s: float) -> bool:
        """Whether one more disagreement may be sent."""
        return self._take("disagreement", now_s)

    def _take(self, why: Why, now_s: float) -> bool:
        while self._day and now_s - self._day[0].at_s >= DAY_S:
            self._day.popleft()
        if len(self._day) >= self._config.per_day or not self._quotas[why].take(now_s):
            return False
        self._day.append(Kept(why, now_s))
        return True
