"""Which verdict of those who judge today belongs to which part. Rules only: values and times in.

A verdict with a part's id belongs to the part of that id. One without belongs, by the order of the
line, to the oldest part that has none yet; where it came first, to the next part. In either case the
two come within a time of each other, or they stay without a partner, and are counted. Every part
counts in the order, also one that the candidate did not see. A verdict that is left out shifts the
others by one part for as long as `within` lets it: it should be shorter than the time from a part to
its verdict and one more part.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edge_agent.judge.base import Ruling
from fleet_contract.names import Verdict

W = TypeVar("W")

MOST_WAITING = 2000
"""Parts, and verdicts, that are held for their partner; beyond it the oldest stays without one."""


@dataclass(slots=True)
class _Part(Generic[W]):
    number: int
    external_id: str
    at_s: float
    verdict: Verdict | None = None
    words: list[W] = field(default_factory=list)
    """The candidate's, once it is known."""
    silent: bool = False
    """The candidate has none."""


@dataclass(frozen=True, slots=True)
class Match(Generic[W]):
    """A part with both words on it."""

    part: int
    verdict: Verdict
    word: W


class Pairing(Generic[W]):
    """`W` is whatever the candidate says of a part. Not thread-safe."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._parts: deque[_Part[W]] = deque()
        self._early: deque[Ruling] = deque()
        self._unpaired = 0

    def part(self, number: int, external_id: str, at_s: float) -> None:
        """A part of the line, in the order of the parts."""
        part: _Part[W] = _Part(number, external_id, at_s)
        self._parts.append(part)
        early = next((one for one in self._early if self._fits(part, one)), None)
        if early is not None:
            self._early.remove(early)
            part.verdict = early.verdict
        if len(self._parts) > MOST_WAITING:
            self._drop(self._parts.popleft())

    def word(self, number: int, word: W | None) -> None:
        """What the candidate says of a part; None: nothing, now or later."""
        part = next((one for one in self._parts if one.number == number), None)
        if part is not None and word is None:
            part.silent = True
        elif part is not None and word is not None:
            part.words.append(word)

    def ruling(self, ruling: Ruling) -> None:
        """A verdict of those who judge today."""
        part = next((one for one in self._parts if self._fits(one, ruling)), None)
        if part is not None:
            part.verdict = ruling.verdict
            return
        self._early.append(ruling)
        if len(self._early) > MOST_WAITING:
            self._early.popleft()
            self._unpaired += 1

    def _fits(self, part: _Part[W], ruling: Ruling) -> bool:
        if part.verdict is not None or abs(ruling.at_s - part.at_s) > self._within_s:
            return False
        return not ruling.external_id or ruling.external_id == part.external_id

    def take(self, now_s: float) -> list[Match[W]]:
        """Pairs that are complete since the last call; what waited too long is let go."""
        matches, kept = [], deque[_Part[W]]()
        for part in self._parts:
            if part.verdict is not None and part.words:
                matches.append(Match(part.number, part.verdict, part.words[0]))
            elif part.verdict is None or not part.silent:
                kept.append(part)
        self._parts = kept
        while kept and now_s - kept[0].at_s > self._limit_s(kept[0]):
            self._drop(kept.popleft())
        while self._early and now_s - self._early[0].at_s > self._within_s:
            self._early.popleft()
            self._unpaired += 1
        return matches

    def _limit_s(self, part: _Part[W]) -> float:
        # With its verdict it waits for the candidate alone, which is never that slow.
        return self._within_s * (1 if part.verdict is None else 2)

    def _drop(self, part: _Part[W]) -> None:
        self._unpaired += part.verdict is None

    def unpaired(self) -> int:
        """Parts and verdicts that found no partner since the last call."""
        count, self._unpaired = self._unpaired, 0
        return count
