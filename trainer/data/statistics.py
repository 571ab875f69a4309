"""Statistics of a dataset version: counts, sides, light, sizes of defects; computed once and stored."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from fleet_contract.dataset import GOOD, DatasetVersion
from trainer.data.scan import Seen, Tick, scan
from trainer.data.store import Store


class Table(BaseModel):
    """Immutable; a key that is not known makes the stored file one of another version."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Count(Table):
    """How many images and parts stand on each side."""

    train: int = 0
    holdout: int = 0
    train_parts: int = 0
    holdout_parts: int = 0


class Spread(Table):
    """Least, percentiles and most of a quantity over images."""

    min: float
    p10: float
    p50: float
    p90: float
    max: float


class ImageSides(Table):
    """Pixels."""

    width: Spread
    height: Spread


class Light(Table):
    """Grey levels of 255, and sharpness (variance of the Laplacian over the squared mean)."""

    mean: Spread
    contrast: Spread
    sharpness: Spread


class DefectSizes(Table):
    """Marked defects of one class, in pixels of the image: components of masks, or boxes."""

    label: str
    count: int
    short_side_p10: float
    """Shorter side of the upright box around a defect."""
    short_side_p50: float
    short_side_p90: float
    area_p10: float
    """Marked pixels, or the area of the box where only that is known."""
    area_p50: float
    area_p90: float


class DatasetStatistics(Table):
    """What a dataset version holds."""

    v: Literal[1] = 1
    dataset: str
    """Digest of the version."""
    images: int
    parts: int
    unreadable: int
    """Images that could not be decoded; they are in no figure below."""
    masks: int
    labels: dict[str, Count]
    slices: dict[str, dict[str, Count]]
    """By column, then value."""
    image_sides: ImageSides | None
    """None where no image can be read."""
    light: Light | None
    defects: list[DefectSizes]
    """By class, for those with marked defects."""


def describe(store: Store, version: DatasetVersion, tick: Tick | None = None) -> DatasetStatistics:
    """The version's statistics: those stored beside it, or else computed from its files and stored."""
    digest = version.digest()
    stored = store.statistics(digest)
    if stored is not None:
        try:
            return DatasetStatistics.model_validate_json(stored)
        except ValidationError:  # written by another version of the trainer
            pass
    found = summarise(version, scan(store, version.items, tick))
    store.put_statistics(digest, found.model_dump_json().encode())
    return found


def summarise(version: DatasetVersion, seen: Sequence[Seen]) -> DatasetStatistics:
    """The statistics of `version`, whose items `seen` are."""
    images = [one.image for one in seen if not one.image.problem]
    return DatasetStatistics(
        dataset=version.digest(),
        images=len(version.items),
        parts=len({item.group for item in version.items}),
        unreadable=len(seen) - len(images),
        masks=sum(item.mask is not None for item in version.items),
        labels=_counts((item.label, item.group, item.split) for item in version.items),
        slices=_slices(version),
        image_sides=ImageSides(
            width=_spread(image.width for image in images),
            height=_spread(image.height for image in images),
        ) if images else None,
        light=Light(
            mean=_spread(image.mean for image in images),
            contrast=_spread(image.contrast for image in images),
            sharpness=_spread(image.sharpness for image in images),
        ) if images else None,
        defects=defect_sizes(seen),
    )  # fmt: skip


def _counts(rows: Iterable[tuple[str, str, str]]) -> dict[str, Count]:
    """By the first of (key, part, side)."""
    images: dict[str, Counter[str]] = defaultdict(Counter)
    parts: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for key, group, side in rows:
        images[key][side] += 1
        parts[key].add((side, group))
    return {
        key: Count(
            train=count["train"],
            holdout=count["holdout"],
            train_parts=sum(side == "train" for side, _ in parts[key]),
            holdout_parts=sum(side == "holdout" for side, _ in parts[key]),
        )
        for key, count in sorted(images.items())
    }


def _slices(version: DatasetVersion) -> dict[str, dict[str, Count]]:
    columns = sorted({name for item in version.items for name in item.slices})
    return {
        name: _counts(
            (item.slices[name], item.group, item.split)
            for item in version.items
            if name in item.slices
        )
        for name in columns
    }


def _spread(values: Iterable[float]) -> Spread:
    found = np.array(list(values), np.float64)
    low, tenth, middle, ninetieth, high = np.percentile(found, [0, 10, 50, 90, 100])
    return Spread(min=_short(low), p10=_short(tenth), p50=_short(middle), p90=_short(ninetieth),
                  max=_short(high))  # fmt: skip


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def defect_sizes(seen: Iterable[Seen]) -> list[DefectSizes]:
    """Sizes by class: of the regions that the source told apart, else of the mask's components."""
    sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in seen:
        if one.item.regions:
            for index, region in enumerate(one.item.regions):
                sizes[region.label].append(_region_size(one, index))
        elif one.mask is not None and one.item.label != GOOD:
            sizes[one.item.label] += one.mask.defects
    return [_sized(label, found) for label, found in sorted(sizes.items()) if found]


def _region_size(one: Seen, index: int) -> tuple[int, int]:
    region = one.item.regions[index]
    width, height = region.box[2:]
    marked = one.mask.regions if one.mask is not None else ()
    return min(width, height), marked[index] if region.exact and marked else width * height


def _sized(label: str, sizes: list[tuple[int, int]]) -> DefectSizes:
    percentiles = np.percentile(np.array(sizes, np.float64), [10, 50, 90], axis=0)
    side, area = ([_short(value) for value in column] for column in percentiles.T)
    return DefectSizes(
        label=label, count=len(sizes),
        short_side_p10=side[0], short_side_p50=side[1], short_side_p90=side[2],
        area_p10=area[0], area_p50=area[1], area_p90=area[2],
    )  # fmt: skip
