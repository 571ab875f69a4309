"""YOLO: a text file an image, a line a defect: class number, then a box or a polygon in shares of the image.

`images/` and `labels/` side by side at any depth (`images/train`, or `train/images`), or texts beside
their images; names of classes in `data.yaml`, `classes.txt` or `obj.names`. An image whose text is
empty or missing is good.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fleet_contract.errors import DataError
from trainer.data.formats.reading import (
    Reading,
    Row,
    by_stem,
    images_below,
    read_text,
    side_of,
)
from trainer.data.formats.shapes import Box, Patch, Polygon, Shape, Size, corners

_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt")
_BOX_CELLS = 5
_FAR = 2.0
"""Shares beyond this are pixels, or of another image."""


@dataclass(frozen=True, slots=True)
class Shares:
    """A box (centre x, centre y, width, height) or a polygon (x, y in turn), in shares of the image."""

    label: str
    numbers: tuple[float, ...]
    path: Path
    drawn = True

    def patches(self, size: Size) -> list[Patch]:
        """Its pixels at that size."""
        return self._scaled(size).patches(size)

    def _scaled(self, size: Size) -> Shape:
        width, height = size
        if len(self.numbers) == _BOX_CELLS - 1:
            x, y, w, h = self.numbers
            return Box(self.label, (x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
        ring = corners(self.numbers, self.path)
        return Polygon(self.label, (tuple((x * width, y * height) for x, y in ring),))


def names_file(folder: Path) -> Path | None:
    """The file that names the classes of a folder in this layout."""
    listed = (path for name in _LISTS for path in (folder / name, folder / "labels" / name))
    yamls = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    known = [path for path in yamls if path.stem in ("data", "dataset")] or yamls
    return next((path for path in [*known[:1], *listed] if path.is_file()), None)


def is_yolo(folder: Path) -> bool:
    """Whether a folder names classes, or holds `labels/`, as this layout does."""
    return names_file(folder) is not None or any(folder.glob("labels/**/*.txt"))


def read_yolo(reading: Reading) -> Iterator[Row]:
    """Rows of a folder, or of the folder of a `data.yaml`."""
    labels = _class_labels(reading)
    base = reading.root or reading.folder
    images = _images(base)
    for folder in sorted({image.parent for image in images}):
        by_stem([image for image in images if image.parent == folder], reading.findings)
    texts = {image: _text_of(image, base) for image in images}
    missing = sum(not text.is_file() for text in texts.values())
    if missing:
        reading.findings.notes.append(f"{missing} images without a text file were taken as good")
    for image, text in texts.items():
        with reading.findings.gather():
            shapes = tuple(_shapes(text, labels)) if text.is_file() else ()
            parts = image.relative_to(base).parts[:-1]
            yield Row(image, reading.name_of(image), None, shapes, side=side_of(*parts),
                      told_by=text if text.is_file() else None)  # fmt: skip
    _refuse_lonely(reading, base, set(texts.values()))


def _images(base: Path) -> list[Path]:
    found = images_below(base)
    below = [path for path in found if "images" in path.relative_to(base).parts[:-1]]
    return below or found


def _text_of(image: Path, base: Path) -> Path:
    """The text of an image: the last `images` of its path below `base` becomes `labels`."""
    parts = list(image.relative_to(base).with_suffix(".txt").parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return base.joinpath(*parts)


def _refuse_lonely(reading: Reading, base: Path, texts: set[Path]) -> None:
    for text in sorted(base.rglob("labels/**/*.txt")):
        if text not in texts and text.name not in _LISTS:
            with reading.findings.gather():
                raise DataError(f"{text} has no image", expected="an image of its stem in images/",
                                remedy="Add the image, or remove the text.")  # fmt: skip


def _shapes(text: Path, labels: dict[int, str]) -> Iterator[Shares]:
    for number, line in enumerate(read_text(text).splitlines(), start=1):
        cells = line.split()
        if cells:
            yield _shape(cells, labels, f"line {number} of {text}", text)


def _shape(cells: list[str], labels: dict[int, str], where: str, text: Path) -> Shares:
    try:
        index, numbers = int(cells[0]), tuple(float(cell) for cell in cells[1:])
    except ValueError as error:
        raise DataError(f"{where} is not YOLO's", expected="a class number and shares of the image",
                        found=" ".join(cells)[:80], remedy="Export it again.") from error  # fmt: skip
    if len(cells) != _BOX_CELLS and (len(cells) < 7 or len(cells) % 2 == 0):
        raise DataError(f"{where} is neither a box nor a polygon",
                        expected="4 numbers, or x and y of 3 corners or more, behind the class",
                        found=f"{len(numbers)} numbers", remedy="Export it again.")  # fmt: skip
    if index not in labels:
        raise DataError(f"{where} names an unknown class",
                        expected=f"a number from 0 to {max(labels)}", found=str(index),
                        remedy="Add its name to the list of classes.")  # fmt: skip
    if not all(abs(n) <= _FAR for n in numbers):
        raise DataError(f"{where} has numbers that are no shares of the image",
                        expected="0 to 1", found=" ".join(cells[1:])[:80],
                        remedy="Divide pixels by the image's width and height.")  # fmt: skip
    return Shares(labels[index], numbers, text)


def _class_labels(reading: Reading) -> dict[int, str]:
    path = reading.path if reading.path.is_file() else names_file(reading.path)
    if path is None:
        raise DataError(f"{reading.path} names no classes",
                        expected="data.yaml with names, classes.txt or obj.names",
                        remedy="Write classes.txt: a name a line, class 0 first.")  # fmt: skip
    names = _yaml_names(path) if path.suffix in (".yaml", ".yml") else _listed_names(path)
    if not names:
        raise DataError(f"{path} names no classes", expected="a name for each class number",
                        remedy="Write them, class 0 first.")  # fmt: skip
    return {number: reading.label(name) for number, name in names.items()}


def _listed_names(path: Path) -> dict[int, str]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    return {number: line for number, line in enumerate(lines) if line}


def _yaml_names(path: Path) -> dict[int, str]:
    try:
        document: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}", remedy="Export it again.") from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(number, int) for number in names):
        raise DataError(f"{path} names no classes", expected="names: [first, second, ...]",
                        remedy="Write them under the key names, class 0 first.")  # fmt: skip
    return {number: str(name) for number, name in names.items()}
