"""Which parts' images are sent for review, within quotas an hour. Pure: values and times in."""

import hashlib
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
        if self.at_s is not None:
            refill = (now_s - self.at_s) * self.per_hour / 3600
            self.tokens = min(float(self.per_hour), self.tokens + refill)
        self.at_s = now_s
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class SamplePolicy:
    """Chooses at most one reason for a part."""

    def __init__(self, config: SamplesConfig, seed: str) -> None:
        self._share, self._seed = config.audit_share, seed
        self._quotas: dict[str, Quota] = {
            "audit": Quota(config.audit_per_hour),
            "reject": Quota(config.rejects_per_hour),
            "near_threshold": Quota(config.near_per_hour),
            "disagreement": Quota(config.disagreements_per_hour),
        }

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
        if drawn(self._seed, part, self._share):
            reasons.append("audit")
        if score is not None and abs(score - threshold) < near_margin:
            reasons.append("near_threshold")
        if verdict is Verdict.REJECT:
            reasons.append("reject")
        if requested:
            return "requested"
        return next((why for why in reasons if self._quotas[why].take(now_s)), None)

    def disagreement(self, now_s: float) -> bool:
        """Whether one more disagreement may be sent."""
        return self._quotas["disagreement"].take(now_s)
