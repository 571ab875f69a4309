"""Instants of a process's life, told by its system calls: which K-th call of a kind comes when. Pure.

strace counts the calls of each thread by itself and injects at whichever thread comes to its K-th first;
an instant is therefore the time at which the first of the threads was there.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CALLS = (
    "openat", "close", "read", "pread64", "write", "pwrite64", "lseek", "fcntl", "fsync",
    "fdatasync", "fallocate", "ftruncate", "rename", "unlink", "rmdir", "mkdir", "symlink",
    "getdents64", "newfstatat", "statfs", "vfork", "wait4", "sendto", "recvfrom",
)  # fmt: skip
"""What an update does to its files and to the wire; those that do not occur are passed over."""

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (\w+)\(")


@dataclass(frozen=True, slots=True)
class Instant:
    """The K-th call of a kind in some thread, `at_s` after the trace began."""

    call: str
    when: int
    at_s: float


def instants(trace: Iterable[str]) -> list[Instant]:
    """All instants in the lines of `strace -f -ttt`, in order of time."""
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], float] = {}
    start_s: float | None = None
    for line in trace:
        match = _LINE.match(line)
        if match is None:
            continue  # the second half of a call that another thread's interrupted
        thread, at, call = match.groups()
        start_s = float(at) if start_s is None else start_s
        counts[thread, call] += 1
        found.setdefault((call, counts[thread, call]), float(at) - start_s)
    return sorted((Instant(*key, at_s) for key, at_s in found.items()), key=lambda i: i.at_s)


def drawn(known: Sequence[Instant], points: int, chance: random.Random) -> list[Instant]:
    """`points` instants in random order: each kind of call in proportion, spread over its whole course.

    Each kind comes once before any comes in proportion; a few points are drawn over all kinds.
    """
    kinds: dict[str, list[Instant]] = {}
    for instant in known:
        kinds.setdefault(instant.call, []).append(instant)
    if points < len(kinds):
        return _spread(known, points, chance)
    chosen: list[Instant] = []
    spare = points - len(kinds)
    for of_kind in kinds.values():
        share = 1 + spare * len(of_kind) // len(known)
        chosen += _spread(of_kind, share, chance)
    chosen += _spread(known, points - len(chosen), chance)
    chance.shuffle(chosen)
    return chosen


def _spread(known: Sequence[Instant], points: int, chance: random.Random) -> list[Instant]:
    """One from each of `points` stretches of equal length."""
    step = len(known) / points if points else 0.0
    return [known[int((n + chance.random()) * step)] for n in range(points)]
