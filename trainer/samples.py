"""What a bundle is measured on: images with their truth, from a data set or a CSV file.

Nothing is kept in memory but the list: images are decoded as they are judged.
"""

import csv
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD, MASK_DEFECT, MASK_SOMEWHERE, DatasetItem
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import decode_image
from trainer.data.formats.reading import class_name
from trainer.data.store import Store

_IMAGE, _MASK, _LABEL = "image", "mask", "defect"
_GROUPS = ("part", "group", "tile")
_PERSON = "appraiser:"
_MARKED = 127


@dataclass(frozen=True, slots=True)
class Samples:
    """Items, and how their bytes are read."""

    items: list[DatasetItem]
    image: Callable[[int], bytes]
    """Encoded image of an item. Raises DataError."""
    stored_mask: Callable[[int], NDArray[np.uint8] | None]
    """[height, width] of 0, 128 and 255; None where the item has none. Raises DataError."""

    @property
    def defective(self) -> NDArray[np.bool_]:
        """[n] the truth."""
        return np.array([item.label != GOOD for item in self.items], np.bool_)

    @property
    def groups(self) -> list[str]:
        """The part of each item."""
        return [item.group for item in self.items]

    def mask(self, index: int, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """[height, width] of the defective pixels of a frame of that size.

        None where they are not known: a defect without a mask, an empty one, or one that marks a
        box with a defect somewhere in it. Raises DataError for a mask of another size.
        """
        item = self.items[index]
        if item.label == GOOD:
            return np.zeros(size, np.bool_)
        values = self.stored_mask(index)
        if values is None or not values.any() or (values == MASK_SOMEWHERE).any():
            return None
        if values.shape != size:
            raise DataError(
                f"the mask of {item.source or item.sha256[:12]} has another size than its image",
                expected=f"{size[1]}x{size[0]}",
                found=f"{values.shape[1]}x{values.shape[0]}",
                remedy="Export the mask at the image's size.",
            )
        return np.asarray(values == MASK_DEFECT, np.bool_)


def holdout_digest(items: list[DatasetItem]) -> str:
    """SHA-256 over the sorted digests of the images, each with its label: the same digest means the
    same images and the same truth."""
    lines = sorted(f"{item.sha256} {item.label}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_samples(store: Store, items: list[DatasetItem]) -> Samples:
    """Items of a data set."""

    def mask(index: int) -> NDArray[np.uint8] | None:
        name = items[index].mask
        return None if name is None else _grey(store.get(name))

    return Samples(items, lambda index: store.get(items[index].sha256), mask)


def csv_samples(path: Path, root: Path, good: str = GOOD) -> Samples:
    """Images that no store has seen: columns `image`, `defect` and, where there are any, `mask`.

    An empty defect or `good` is good. `part`, `group` or `tile` names the physical part; columns
    `appraiser:NAME` hold what a person said; all others are slices. Paths are relative to `root`.
    Raises DataError for a file that lacks a column, or names a file that is not there.
    """
    rows = _rows(path)
    items, masks = [], []
    for number, cells in enumerate(rows, start=2):
        where = f"line {number} of {path}"
        image = _file(root, cells[_IMAGE], where)
        masks.append(_file(root, cells[_MASK], where) if cells.get(_MASK) else None)
        items.append(_item(cells, image, good))

    def mask(index: int) -> NDArray[np.uint8] | None:
        found = masks[index]
        return None if found is None else _plain_mask(found)

    return Samples(items, lambda index: (root / items[index].source).read_bytes(), mask)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    reader = csv.DictReader(text.splitlines())
    columns = list(reader.fieldnames or [])
    missing = [name for name in (_IMAGE, _LABEL) if name not in columns]
    if missing:
        raise DataError(f"{path} lacks a column", expected=", ".join(missing),
                        found=", ".join(columns) or "an empty file",
                        remedy="Name it in the first line.")  # fmt: skip
    rows = list(reader)
    if not rows:
        raise DataError(f"{path} names no image", expected="a line for each", found="none")
    for number, cells in enumerate(rows, start=2):
        if None in cells or None in cells.values():
            raise DataError(f"line {number} of {path} has another number of cells",
                            expected=f"{len(columns)}")  # fmt: skip
    return rows


def _file(root: Path, name: str, where: str) -> Path:
    path = root / name
    if not name or not path.is_file():
        raise DataError(f"{where} names a file that is not there", expected=str(path),
                        remedy="Paths are relative to --root.")  # fmt: skip
    return path


def _item(cells: Mapping[str, str], image: Path, good: str) -> DatasetItem:
    group = next((name for name in _GROUPS if cells.get(name)), _IMAGE)
    people = {name: label for name, label in cells.items() if name.startswith(_PERSON) and label}
    special = {_IMAGE, _MASK, _LABEL, group, *people}
    return DatasetItem(
        sha256=hashlib.sha256(image.read_bytes()).hexdigest(),
        label=class_name(cells[_LABEL], good),
        group=cells[group][:200],
        split="holdout",
        slices={name: value for name, value in cells.items() if name not in special and value},
        appraisals={n.removeprefix(_PERSON): class_name(x, good) for n, x in people.items()},
        source=cells[_IMAGE],
    )


def _plain_mask(path: Path) -> NDArray[np.uint8]:
    """A mask from anywhere: above 127 is defective, or 1 where nothing is above it."""
    try:
        values = _grey(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    marked = values == 1 if values.max() == 1 else values > _MARKED
    return np.where(marked, MASK_DEFECT, 0).astype(np.uint8)


def _grey(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(decode_image(data, 1), np.uint8)
