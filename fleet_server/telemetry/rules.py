"""Counting, apart from storing: how far a stream is, and which parts are missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MAX_INTERVALS = 1000
"""Stored intervals above the contiguous number; a record that would make more is left to be resent."""
LARGEST_NUMBER = 2**53
"""Numbers above this are refused: they would not survive JSON everywhere."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far one stream of one spool is stored."""

    contiguous: int = 0
    beyond: tuple[tuple[int, int], ...] = ()
    """Stored intervals above `contiguous`, ascending, not touching."""

    def has(self, number: int) -> bool:
        """Whether `number` is stored, or was said to be dropped."""
        return number <= self.contiguous or any(a <= number <= b for a, b in self.beyond)

    def add(self, first: int, last: int) -> "Position | None":
        """The position once `first` to `last` are stored too; None where too much is missing."""
        contiguous = self.contiguous
        merged: list[tuple[int, int]] = []
        for a, b in sorted([*self.beyond, (first, last)]):
            if a <= contiguous + 1:
                contiguous = max(contiguous, b)
            elif merged and a <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], b))
            else:
                merged.append((a, b))
        return Position(contiguous, tuple(merged)) if len(merged) <= MAX_INTERVALS else None


@dataclass(slots=True)
class PartsCount:
    """What the verdicts of one device and camera add up to."""

    first: int | None = None
    last: int | None = None
    counted: int = 0
    """Distinct part numbers with a verdict."""
    missing: list[tuple[int, int]] = field(default_factory=list)
    """Ranges of numbers without a verdict between first and last."""
    duplicates: int = 0
    """Verdicts on a number that has one already."""

    @property
    def missing_count(self) -> int:
        """How many numbers are missing."""
        return sum(last - first + 1 for first, last in self.missing)


def count_parts(numbers: Iterable[Sequence[int]]) -> PartsCount:
    """Counts part numbers, given as ranges [first, last] in any order."""
    count = PartsCount()
    for first, last in sorted((r[0], r[1]) for r in numbers):
        size = last - first + 1
        if count.last is None:
            count.first, count.last, count.counted = first, last, size
            continue
        overlap = max(0, min(count.last, last) - first + 1)
        if first > count.last + 1:
            count.missing.append((count.last + 1, first - 1))
        count.duplicates += overlap
        count.counted += size - overlap
        count.last = max(count.last, last)
    return count


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending runs of consecutive numbers; a repeated number starts a run of its own."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
