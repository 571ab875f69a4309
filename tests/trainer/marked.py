"""Marked pictures for the tests of formats, and what a store holds of them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import DatasetItem, DatasetVersion
from tests.trainer.parts import DEFECTS, draw, write_image
from trainer.data.store import Store


@dataclass(frozen=True)
class Marked:
    """A picture of a part: RGB [64, 64, 3], its mask [64, 64] of 0 and 255, its class."""

    stem: str
    label: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    @property
    def bad(self) -> bool:
        """Whether it shows a defect."""
        return self.label != "good"

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height around the mask."""
        left, top, width, height = cv2.boundingRect(self.mask)
        return int(left), int(top), int(width), int(height)

    def write(self, folder: Path) -> Path:
        """The picture as PNG."""
        path = folder / f"{self.stem}.png"
        write_image(path, self.image)
        return path


def pictures(good: int = 4, bad: int = 2) -> list[Marked]:
    """Parts without a defect, and `bad` of each class."""
    kinds: list[str | None] = [None] * good + [kind for kind in DEFECTS for _ in range(bad)]
    made = []
    for number, kind in enumerate(kinds):
        image, mask = draw(number, kind)
        made.append(Marked(f"part_{number:03d}", kind or "good", image, mask))
    return made


def mask_of(store: Store, item: DatasetItem) -> NDArray[np.uint8] | None:
    """The item's mask as stored: 0, 128 or 255."""
    if item.mask is None:
        return None
    mask = cv2.imdecode(np.frombuffer(store.get(item.mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    return np.asarray(mask, np.uint8)


def marks_of(store: Store, item: DatasetItem) -> NDArray[np.uint8]:
    """The mask of an item that has one."""
    mask = mask_of(store, item)
    assert mask is not None
    return mask


def by_stem(version: DatasetVersion) -> dict[str, DatasetItem]:
    """Items by the stem of their source."""
    return {Path(item.source).stem: item for item in version.items}


def assert_same(
    store: Store, version: DatasetVersion, expected: list[Marked], *, exact: bool
) -> None:
    """Every picture is there under its label, with its mask, or with the box around it."""
    items = by_stem(version)
    assert sorted(items) == sorted(one.stem for one in expected)
    for one in expected:
        item = items[one.stem]
        assert item.label == one.label, one.stem
        mask = mask_of(store, item)
        if not one.bad:
            assert mask is None
            continue
        assert mask is not None
        if exact:
            assert np.array_equal(mask, one.mask), one.stem
            continue
        left, top, width, height = one.box
        boxed = np.zeros_like(one.mask)
        boxed[top : top + height, left : left + width] = 128
        assert np.array_equal(mask, boxed), one.stem
