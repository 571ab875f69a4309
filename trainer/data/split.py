"""Which parts are held out: whole groups, a share of each class, decided by seed and name alone."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError


def group_labels(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Group to class, from (group, label) of each image: a part with any defect is defective."""
    labels: dict[str, str] = {}
    for group, label in pairs:
        if labels.get(group, GOOD) == GOOD:
            labels[group] = label
    return labels


def choose_groups(labels: Mapping[str, str], share: float, seed: int) -> set[str]:
    """About `share` of the groups of every class, at least one of each and never all.

    The order is that of a hash of seed and group, so that other groups do not move a group's side.
    Raises DataError where a class has fewer than two groups.
    """
    classes: dict[str, list[str]] = defaultdict(list)
    for group, label in labels.items():
        classes[label].append(group)
    chosen: set[str] = set()
    for label, groups in sorted(classes.items()):
        if len(groups) < 2:
            raise DataError(
                f"class {label!r} has one part only",
                expected="two parts or more, so that one can be held out",
                found=f"part {groups[0]!r}",
                remedy="Add images of other parts of this class, or leave the class out.",
            )
        ordered = sorted(groups, key=lambda group: _order(seed, group))
        count = min(max(round(share * len(groups)), 1), len(groups) - 1)
        chosen.update(ordered[:count])
    return chosen


def _order(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}\0{group}".encode()).hexdigest()
