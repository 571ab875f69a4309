"""Folders by class: `good/` and a folder for each defect; masks, if any, in `masks/CLASS/` by the same stem."""

from collections.abc import Iterator
from pathlib import Path

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError
from trainer.data.formats.reading import IMAGE_SUFFIXES, Reading, Row, images_below
from trainer.data.formats.shapes import MaskFile

MASKS = "masks"


def read_folders(reading: Reading) -> Iterator[Row]:
    """Rows of a folder with a folder per class. An image may lie deeper; so may its mask."""
    folder = reading.path
    classes = class_folders(folder)
    if good_folder(folder, reading.good) is None:
        raise DataError(
            f"{folder} has no folder of good images",
            expected=f"{reading.good}/ beside a folder for each defect",
            found=", ".join(path.name for path in classes) or "no folder",
            remedy="Make the folder, or name the good class with --good.",
        )
    for path in classes:
        images = images_below(path)
        with reading.findings.gather():
            label = reading.label(path.name)
            if not images:
                raise DataError(f"class {path.name!r} is empty", expected=f"images in {path}",
                                found="none", remedy="Add images, or remove the folder.")  # fmt: skip
            for image in images:
                mask = mask_beside(folder / MASKS / path.name, image, path)
                shapes = () if mask is None else (MaskFile(label, mask),)
                yield Row(image, reading.name_of(image), label, shapes)
    _report_stray_masks(reading, classes)


def class_folders(folder: Path) -> list[Path]:
    """The folders that are classes."""
    return sorted(p for p in folder.iterdir()
                  if p.is_dir() and p.name != MASKS and not p.name.startswith("."))  # fmt: skip


def good_folder(folder: Path, good: str) -> Path | None:
    """The folder of the good class."""
    names = (good.casefold(), GOOD)
    return next((p for p in class_folders(folder) if p.name.casefold() in names), None)


def mask_beside(masks: Path, image: Path, images: Path) -> Path | None:
    """The mask of an image in `images`: the same place below `masks`, stem or stem with `_mask`."""
    for place in (masks / image.relative_to(images).parent, masks):
        for stem in (image.stem, f"{image.stem}_mask"):
            found = sorted(p for p in place.glob(f"{_literal(stem)}.*")
                           if p.suffix.lower() in IMAGE_SUFFIXES)  # fmt: skip
            if found:
                return found[0]
    return None


def _literal(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)


def _report_stray_masks(reading: Reading, classes: list[Path]) -> None:
    known = {path.name for path in classes}
    masks = reading.path / MASKS
    for path in sorted(masks.iterdir()) if masks.is_dir() else []:
        if path.is_dir() and path.name not in known:
            reading.findings.notes.append(f"masks in {path} belong to no class and were left out")
