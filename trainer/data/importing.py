"""Imports what people have, a CSV manifest or folders by class, as a dataset version in a store."""

import csv
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD, DatasetItem, DatasetVersion
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import encode_png
from trainer.data.split import choose_groups, group_labels
from trainer.data.store import Store

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_MANIFESTS = ("manifest.csv", "tiles.csv")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How an import reads, names and splits; a share is in (0, 1)."""

    line: str
    holdout: float = 0.3
    seed: int = 0
    channels: Literal[1, 3] | None = None
    """1 grey, 3 RGB; None: grey where every image is."""
    label_column: str | None = None
    """None: `label`, or `defect`."""
    group_column: str = "group"
    good: str = GOOD
    """What the good class is called in the source; an empty label is good as well."""
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Only rows whose column holds one of the values."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image as its source describes it."""

    image: Path
    mask: Path | None
    label: str
    group: str
    slices: Mapping[str, str]
    source: str


Tick = Callable[[int, int], None]
"""Told (done, total) as rows are read."""


def import_source(
    store: Store, source: Path, options: ImportOptions, tick: Tick | None = None
) -> DatasetVersion:
    """A CSV file, a folder with `manifest.csv`, or a folder with `good/` and a folder a defect.

    Stores images, masks and the version. Raises DataError that names what is wrong and where.
    """
    if not 0 < options.holdout < 1:
        raise DataError("the holdout share is not usable", expected="a share between 0 and 1",
                        found=f"{options.holdout}")  # fmt: skip
    if source.is_dir():
        manifest = next((source / n for n in _MANIFESTS if (source / n).is_file()), None)
        rows = list(csv_rows(manifest, options) if manifest else folder_rows(source, options))
    elif source.is_file():
        rows = list(csv_rows(source, options))
    else:
        raise DataError(f"{source} is not there", expected="a CSV file or a folder of images")
    return _store_rows(store, rows, options, reason=f"import of {source.name}", tick=tick)


def csv_rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """Rows of a CSV manifest; columns that are not asked for become slices."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        label = options.label_column or ("label" if "label" in columns else "defect")
        _need_columns(path, columns, ["image", label, *options.where])
        special = {"image", "mask", label, options.group_column}
        for number, cells in enumerate(reader, start=2):
            if None in cells or None in cells.values():
                raise DataError(f"line {number} of {path} has another number of cells",
                                expected=f"{len(columns)}")  # fmt: skip
            if any(cells[column] not in values for column, values in options.where.items()):
                continue
            mask = cells.get("mask", "")
            yield Row(
                image=path.parent / cells["image"],
                mask=path.parent / mask if mask else None,
                label=class_name(cells[label], options.good),
                group=cells.get(options.group_column) or cells["image"],
                slices={c: cells[c] for c in columns if c not in special and cells[c]},
                source=cells["image"],
            )


def _need_columns(path: Path, columns: list[str], needed: list[str]) -> None:
    missing = [column for column in needed if column not in columns]
    if missing:
        raise DataError(
            f"{path} lacks a column",
            expected=", ".join(missing),
            found=", ".join(columns) or "an empty file",
            remedy="Name it in the first line, or say which one it is (--label-column, --where).",
        )


def folder_rows(folder: Path, options: ImportOptions) -> Iterator[Row]:
    """Rows of a folder with a folder per class; masks, if any, in `masks/CLASS/` under the same stem."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "masks")
    names = [path.name for path in classes]
    if options.good not in names:
        raise DataError(
            f"{folder} has no folder of good images",
            expected=f"{options.good}/ beside a folder for each defect, or a manifest.csv",
            found=", ".join(names) or "no folder",
            remedy="Make the folder, or name the good class with --good.",
        )
    for path in classes:
        images = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise DataError(f"class {path.name!r} is empty", expected=f"images in {path}",
                            found="none", remedy="Add images, or remove the folder.")  # fmt: skip
        for image in images:
            source = image.relative_to(folder).as_posix()
            mask = folder / "masks" / path.name / f"{image.stem}.png"
            label = class_name(path.name, options.good)
            yield Row(image, mask if mask.is_file() else None, label, source, {}, source)


def class_name(text: str, good: str) -> str:
    """A class as a label may be written: lower case, `_` for what is not allowed."""
    if text.strip() in ("", good):
        return GOOD
    return re.sub(r"[^a-z0-9_-]+", "_", text.strip().lower())[:40]


def _store_rows(
    store: Store, rows: list[Row], options: ImportOptions, *, reason: str, tick: Tick | None
) -> DatasetVersion:
    _need_classes(rows)
    labels = group_labels([(row.group, row.label) for row in rows])
    holdout = choose_groups(labels, options.holdout, options.seed)
    channels = options.channels or _channels(rows)
    items: dict[str, DatasetItem] = {}
    for index, row in enumerate(rows):
        item = _store_row(store, row, split="holdout" if row.group in holdout else "train")
        _refuse_twin(items.setdefault(item.sha256, item), item)
        if tick is not None:
            tick(index + 1, len(rows))
    version = DatasetVersion(
        line=options.line, reason=reason, channels=channels, items=list(items.values())
    )
    store.put_version(version)
    return version


def _need_classes(rows: Iterable[Row]) -> None:
    found = {row.label for row in rows}
    if GOOD not in found or len(found) < 2:
        raise DataError(
            "good and defective images are needed both",
            expected="the class good and at least one class of defect",
            found=", ".join(sorted(found)) or "no image",
            remedy="Name the good class with --good; look at --where if rows were left out.",
        )


def _refuse_twin(first: DatasetItem, second: DatasetItem) -> None:
    # The same picture under two names would judge the model by what it was trained on.
    if (first.label, first.split) != (second.label, second.split):
        raise DataError(
            f"{first.source} and {second.source} are the same picture",
            expected="one label and one part for one picture",
            found=f"{first.label} ({first.split}) and {second.label} ({second.split})",
            remedy="Remove one of them, or give both the same group and label.",
        )


def _channels(rows: list[Row]) -> Literal[1, 3]:
    grey = all(_read(row.image, cv2.IMREAD_UNCHANGED)[1].ndim == 2 for row in rows)
    return 1 if grey else 3


def _read(path: Path, flag: int) -> tuple[bytes, NDArray[np.uint8]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}",
                        remedy="Paths stand relative to the manifest's folder.") from error  # fmt: skip
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    if pixels is None or pixels.dtype != np.uint8:
        raise DataError(
            f"{path} is not an 8-bit image",
            expected="PNG, JPEG, BMP or TIFF with 8 bits a channel",
            found=f"{len(data)} bytes" if pixels is None else str(pixels.dtype),
            remedy="Replace the file, or leave its row out.",
        )
    return data, np.asarray(pixels, np.uint8)


def _store_row(store: Store, row: Row, split: Literal["train", "holdout"]) -> DatasetItem:
    data, image = _read(row.image, cv2.IMREAD_COLOR)
    if image.max() == image.min():
        raise DataError(f"{row.image} is empty: every pixel is {image.max()}",
                        remedy="Replace the file, or leave its row out.")  # fmt: skip
    return DatasetItem(
        sha256=store.put(data),
        label=row.label,
        mask=_store_mask(store, row, image.shape[:2]),
        group=row.group,
        split=split,
        slices=dict(row.slices),
        source=row.source,
    )


def _store_mask(store: Store, row: Row, size: tuple[int, ...]) -> str | None:
    if row.mask is None:
        return None
    _, mask = _read(row.mask, cv2.IMREAD_GRAYSCALE)
    if mask.shape != size:
        raise DataError(
            f"mask {row.mask} has another size than its image",
            expected=f"{size[1]}x{size[0]} as {row.image.name}",
            found=f"{mask.shape[1]}x{mask.shape[0]}",
            remedy="Export the mask at the image's size.",
        )
    marked = bool((mask > 127).any())
    if marked and row.label == GOOD:
        raise DataError(
            f"mask {row.mask} marks a defect in a good image",
            expected="no pixel above 127",
            remedy="Correct the label, or leave the mask's cell empty.",
        )
    if not marked and row.label != GOOD:
        log.warning("%s is empty: only the label %r is used", row.mask, row.label)
    # Grey, 0 or 255, whatever the source wrote; a good image needs no mask to be known as clean.
    return store.put(encode_png(np.where(mask > 127, 255, 0).astype(np.uint8))) if marked else None
