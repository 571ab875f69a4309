"""The layout of MVTec AD: `train/good`, `test/good`, `test/DEFECT`, `ground_truth/DEFECT/STEM_mask.png`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError
from trainer.data.formats.folders import class_folders, good_folder, mask_beside
from trainer.data.formats.reading import Reading, Row, images_below
from trainer.data.formats.shapes import MaskFile

_TRUTH = "ground_truth"
_SIDES: tuple[tuple[str, Literal["train", "holdout"]], ...] = (
    ("train", "train"),
    ("test", "holdout"),
)


def is_mvtec(folder: Path, good: str) -> bool:
    """Whether a folder is one category of that layout."""
    train, test = folder / "train", folder / "test"
    return train.is_dir() and test.is_dir() and good_folder(train, good) is not None


def read_mvtec(reading: Reading) -> Iterator[Row]:
    """Rows of one category; its own split is by side, not by part."""
    _need_category(reading)
    for name, side in _SIDES:
        for path in class_folders(reading.path / name):
            with reading.findings.gather():
                label = reading.label(path.name)
            truth = reading.path / _TRUTH / path.name
            for image in images_below(path):
                with reading.findings.gather():
                    shapes = _shapes(reading, truth, image, path, label)
                    yield Row(image, reading.name_of(image), label, shapes, side=side)


def _need_category(reading: Reading) -> None:
    if is_mvtec(reading.path, reading.good):
        return
    below = [p.name for p in class_folders(reading.path) if is_mvtec(p, reading.good)]
    raise DataError(
        f"{reading.path} is no category in the layout of MVTec AD",
        expected="train/good and test/ in it",
        found=f"categories: {', '.join(below[:8])}" if below else "no such folders",
        remedy="Name the folder of one category." if below else "Name the good class with --good.",
    )


def _shapes(
    reading: Reading, truth: Path, image: Path, images: Path, label: str
) -> tuple[MaskFile, ...]:
    if label == GOOD:
        return ()
    mask = mask_beside(truth, image, images)
    if mask is not None:
        return (MaskFile(label, mask),)
    if not (reading.path / _TRUTH).is_dir():
        return ()  # labels alone
    raise DataError(f"{image} has no mask", expected=f"{truth / image.stem}_mask.png",
                    remedy="Add it, or remove the image.")  # fmt: skip
