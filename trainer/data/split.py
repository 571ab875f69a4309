"""Which parts are held out: whole groups, a share of each class and slice, by seed and name alone."""

import hashlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError

log = logging.getLogger(__name__)

_MOST_VALUES = 24
"""A column with more values than this names images, not slices."""

Traits = Mapping[str, frozenset[str]]
"""Group to the slices that its images show, as `column=value`."""


def group_labels(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Group to class, from (group, label) of each image: a part with any defect is defective.

    A part with several classes of defect stands under the one that the fewest parts show.
    """
    shown: dict[str, set[str]] = defaultdict(set)
    for group, label in pairs:
        shown[group].add(label)
    parts = Counter(label for labels in shown.values() for label in labels)
    return {
        group: min(labels - {GOOD} or {GOOD}, key=lambda label: (parts[label], label))
        for group, labels in shown.items()
    }


def group_traits(pairs: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, frozenset[str]]:
    """Group to its slices, from (group, slices) of each image; columns of many values are left out."""
    values: dict[str, set[str]] = defaultdict(set)
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for group, slices in pairs:
        found[group].update(slices.items())
        for name, value in slices.items():
            values[name].add(value)
    coarse = {name for name, kinds in values.items() if 1 < len(kinds) <= _MOST_VALUES}
    return {
        group: frozenset(f"{name}={value}" for name, value in pairs if name in coarse)
        for group, pairs in found.items()
    }


def choose_groups(
    labels: Mapping[str, str],
    share: float,
    seed: int,
    *,
    traits: Traits | None = None,
    held: frozenset[str] = frozenset(),
    trained: frozenset[str] = frozenset(),
) -> set[str]:
    """The groups that are held out: about `share` of every class, and within it of every slice.

    At least one of each class and never all; the only part of a class of defect stays in training,
    with a warning. Within a class, parts with the same slices are taken in the order of a hash of
    seed and group, so that a new part moves hardly any other; seats that are left go where the
    slices are furthest below their share (iterative stratification: Sechidis, Tsoumakas, Vlahavas
    2011, over sets of slices). Groups in `held` and `trained` keep their side, whatever the share.
    Raises DataError where one part is all that is good.
    """
    classes: dict[str, list[str]] = defaultdict(list)
    for group, label in labels.items():
        classes[label].append(group)
    known = traits or {}
    chosen = {group for group in held if group in labels}
    for label, groups in sorted(classes.items(), key=lambda entry: (len(entry[1]), entry[0])):
        if len(groups) < 2:
            _say_single(label, groups[0])
            continue
        free = [group for group in groups if group not in held and group not in trained]
        wanted = min(max(round(share * len(groups)), 1), len(groups) - 1)
        seats = wanted - len(held.intersection(groups))
        room = len(free) if trained.intersection(groups) else len(free) - 1
        chosen |= _seated(free, max(min(seats, room), 0), share, seed, known)
    return chosen


def _say_single(label: str, group: str) -> None:
    if label != GOOD:
        log.warning("class %r has one part only, %r: it is trained on, and nothing is measured of it",
                    label, group)  # fmt: skip
        return
    raise DataError(
        f"class {label!r} has one part only",
        expected="two good parts or more, so that one can be held out",
        found=f"part {group!r}",
        remedy="Add images of other good parts.",
    )


def _seated(groups: list[str], seats: int, share: float, seed: int, traits: Traits) -> set[str]:
    """`seats` of the groups of one class, each set of slices about by its share."""
    queues: dict[frozenset[str], list[str]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: _order(seed, group)):
        queues[traits.get(group, frozenset())].append(group)
    kinds = list(queues)
    columns = sorted(frozenset().union(*kinds)) if kinds else []
    shows = np.array([[column in kind for column in columns] for kind in kinds], np.float64)
    sizes = np.array([len(queues[kind]) for kind in kinds], np.int64)
    taken = _fair(shows, sizes, seats, share)
    return {
        group
        for kind, count in zip(kinds, taken, strict=True)
        for group in queues[kind][: int(count)]
    }


def _fair(
    shows: NDArray[np.float64], sizes: NDArray[np.int64], seats: int, share: float
) -> NDArray[np.int64]:
    """[kinds] how many of each kind are taken: whole shares first, then where slices lack most.

    `shows` is [kinds, columns], 1 where a kind shows a slice.
    """
    taken = np.array([math.floor(share * size) for size in sizes], np.int64)
    for _ in range(seats - int(taken.sum())):
        lack = share * (shows.T @ sizes) - shows.T @ taken
        own = share * sizes - taken
        need = np.where(taken < sizes, np.round(shows @ lack + own, 9), -np.inf)
        taken[int(np.argmax(need))] += 1
    for _ in range(int(taken.sum()) - seats):
        need = np.where(taken > 0, np.round(share * sizes - taken, 9), np.inf)
        taken[int(np.argmin(need))] -= 1
    return taken


def _order(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}\0{group}".encode()).hexdigest()
