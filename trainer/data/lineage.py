"""The versions that a version came from, and the holdout that they froze.

A version's holdout is frozen as soon as the version is there: it goes on through every version
that names it as a parent. Only a version that says why (`thawed`) begins a new one.
"""

from collections.abc import Callable, Iterator

from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import DataError, StateError
from trainer.data.split import choose_groups, group_labels, group_traits

Find = Callable[[str], DatasetVersion | None]
"""A version by its digest; None where it is not at hand."""

_SHOWN = 5


def ancestors(version: DatasetVersion, find: Find) -> Iterator[DatasetVersion]:
    """Parent, its parent and so on, as far as they are at hand."""
    parent = version.parent
    while parent is not None and (found := find(parent)) is not None:
        yield found
        parent = found.parent


def frozen(version: DatasetVersion, find: Find) -> list[DatasetItem]:
    """Holdout items of the ancestors, back to the one that thawed; none where `version` does."""
    items: list[DatasetItem] = []
    newest = version
    for older in ancestors(version, find):
        if newest.thawed:
            break
        items += older.side("holdout")
        newest = older
    return items


def check_holdout(version: DatasetVersion, find: Find) -> None:
    """Raises DataError where an image or a part that was held out is trained on."""
    items = frozen(version, find)
    images, parts = {item.sha256 for item in items}, {item.group for item in items}
    leaked = [i for i in version.side("train") if i.sha256 in images or i.group in parts]
    if not leaked:
        return
    names = ", ".join(item.source or item.sha256[:12] for item in leaked[:_SHOWN])
    raise DataError(
        f"{len(leaked)} images would be trained on that were held out before",
        expected="what an earlier version held out on the holdout's side",
        found=f"{names}{', ...' if len(leaked) > _SHOWN else ''} in training",
        remedy="Keep their side, or begin a new holdout: `loupe-trainer split VERSION --thaw WHY`.",
    )


def split_again(
    version: DatasetVersion, find: Find, *, share: float, seed: int, thaw: str = ""
) -> DatasetVersion:
    """The same images with sides chosen anew, as a version with this one as its parent.

    Raises DataError for a share that is none, StateError where a holdout is frozen and `thaw`
    does not say why it is given up.
    """
    if not 0 < share < 1:
        raise DataError("the holdout share is not usable", expected="a share between 0 and 1",
                        found=f"{share:g}")  # fmt: skip
    held = len(version.side("holdout")) or len(frozen(version, find))
    if held and not thaw.strip():
        raise StateError(
            f"the holdout of line {version.line} is frozen: {held} images",
            remedy="Models were or may be measured on it. Add images to make it grow; to begin "
            "another that no earlier measure can be compared with, say why: --thaw WHY.",
        )
    chosen = choose_groups(
        group_labels([(item.group, item.label) for item in version.items]), share, seed,
        traits=group_traits((item.group, item.slices) for item in version.items),
    )  # fmt: skip
    items = [
        item.model_copy(update={"split": "holdout" if item.group in chosen else "train"})
        for item in version.items
    ]
    return version.model_copy(update={
        "parent": version.digest(), "items": items, "thawed": thaw.strip()[:500] if held else "",
        "reason": f"split again: holdout {share:g}, seed {seed}",
    })  # fmt: skip
