"""YOLO's texts from a version: pixels as polygons along their borders, boxes where none are known.

The training side is `train`, the holdout `val`. A polygon follows pixel borders and a hole hangs on
it by a seam, so that filling it by pixel centres gives the mask back; tools that draw an outline as
well make it up to a pixel thicker.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from trainer.data.formats.exported import Defect, Exported
from trainer.data.formats.polygon import outlines

_DIGITS = 8


def write_yolo(out: Path, images: list[Exported]) -> None:
    """`data.yaml`, and `labels/train` and `labels/val` beside the images' folders."""
    labels = sorted({defect.label for image in images for defect in image.defects})
    numbers = {label: number for number, label in enumerate(labels)}
    for image in images:
        folder = out / "labels" / ("train" if image.item.split == "train" else "val")
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line for defect in image.defects for line in _lines(defect, image, numbers)]
        text = "".join(f"{line}\n" for line in lines)
        (folder / Path(image.name).with_suffix(".txt")).write_text(text, encoding="ascii")
    names = "".join(f"  {number}: {json.dumps(label)}\n" for label, number in numbers.items())
    settings = f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}"
    (out / "data.yaml").write_text(settings, encoding="utf-8")


def _lines(defect: Defect, image: Exported, numbers: dict[str, int]) -> list[str]:
    """A line for a box, or one for each connected group of pixels."""
    width, height = image.size
    left, top, across, down = defect.box
    number = numbers[defect.label]
    if defect.pixels is None:
        shares = ((left + across / 2) / width, (top + down / 2) / height,
                  across / width, down / height)  # fmt: skip
        return [_line(number, shares)]
    return [
        _line(number, (n for x, y in ring for n in ((left + x) / width, (top + y) / height)))
        for ring in outlines(defect.pixels)
    ]


def _line(number: int, shares: Iterable[float]) -> str:
    return " ".join([str(number), *(f"{share:.{_DIGITS}f}" for share in shares)])
