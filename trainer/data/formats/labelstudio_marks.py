"""Marks and choices of a Label Studio annotation, as shapes. Rectangles may be turned around their top left corner."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError
from fleet_contract.messages import first_problem
from trainer.data.formats.brush import BrushRuns
from trainer.data.formats.reading import Reading
from trainer.data.formats.shapes import Box, Patch, Pixels, Polygon, Shape, Size

_KINDS = ("rectanglelabels", "polygonlabels", "brushlabels", "labels")
_PLACES = {"x", "points", "rle"}


class Result(BaseModel):
    """An entry of an annotation's result."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    value: dict[str, Any]
    id: str | None = None
    from_name: str = ""
    original_width: int | None = None
    original_height: int | None = None
    image_rotation: float = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A marked defect."""

    label: str
    shape: Shape
    size: Size | None
    """The image's width and height, where the export says them."""


@dataclass(frozen=True, slots=True)
class PerCent:
    """A rectangle, maybe turned, or a polygon, in per cent of the image's sides."""

    label: str
    value: dict[str, Any]
    where: str
    drawn = True

    def patches(self, size: Size) -> list[Patch]:
        """Its pixels at that size."""
        try:
            shape = self._scaled(size)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.where}: a mark of class {self.label} cannot be understood",
                            expected="x, y, width and height, or points", found=str(self.value)[:120],
                            remedy="Export it again.") from error  # fmt: skip
        return shape.patches(size)

    def _scaled(self, size: Size) -> Shape:
        across, down = size[0] / 100, size[1] / 100
        if "points" in self.value:
            ring = tuple((float(x) * across, float(y) * down) for x, y in self.value["points"])
            return Polygon(self.label, (ring,))
        left, top = float(self.value["x"]) * across, float(self.value["y"]) * down
        width, height = float(self.value["width"]) * across, float(self.value["height"]) * down
        angle = radians(float(self.value.get("rotation") or 0))
        if not angle:
            return Box(self.label, left, top, width, height)
        steps = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
        ring = tuple((left + x * cos(angle) - y * sin(angle), top + x * sin(angle) + y * cos(angle))
                     for x, y in steps)  # fmt: skip
        return Polygon(self.label, (ring,), exact=False)


def labelled(result: list[dict[str, Any]], where: str) -> Iterator[Result]:
    """The marks with a label. Raises DataError for a mark without one, or of a kind that is not taken."""
    entries = list(_parsed(result, where))
    named = {entry.id for entry in entries if entry.type in _KINDS}
    for entry in entries:
        if entry.type in _KINDS:
            yield entry
        elif _PLACES & set(entry.value) and (entry.id is None or entry.id not in named):
            raise DataError(f"{where} has a mark of a kind that is not taken, or without a label",
                            expected=", ".join(_KINDS), found=entry.type,
                            remedy="Draw it with one of those.")  # fmt: skip


def _parsed(result: list[dict[str, Any]], where: str) -> Iterator[Result]:
    for entry in result:
        if "value" not in entry:
            continue  # a relation between marks
        try:
            yield Result.model_validate(entry)
        except ValidationError as error:
            raise DataError(
                f"{where}: {first_problem(error)}", remedy="Export it again."
            ) from error


def mark(reading: Reading, entry: Result, where: str) -> list[Mark]:
    """The mark of an entry; none where it says good. Raises DataError."""
    label = reading.label(_name(entry, entry.type, where))
    if label == GOOD:
        return []
    if entry.image_rotation:
        raise DataError(f"{where} was annotated on an image that was turned by hand",
                        expected="image_rotation 0", found=f"{entry.image_rotation:g} degrees",
                        remedy="Turn the image file itself, and annotate that.")  # fmt: skip
    width, height = entry.original_width, entry.original_height
    size = (width, height) if width and height else None
    if "rle" not in entry.value:
        return [Mark(label, PerCent(label, entry.value, where), size)]
    return [Mark(label, Pixels(label, BrushRuns(_needed(size, where), _code(entry, where))), size)]


def _needed(size: Size | None, where: str) -> Size:
    if size is None:
        raise DataError(f"{where} has a brush mask without the image's size",
                        expected="original_width and original_height",
                        remedy="Export it again.")  # fmt: skip
    return size


def _code(entry: Result, where: str) -> bytes:
    try:
        return bytes(entry.value["rle"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has a brush mask that is no list of bytes",
                        remedy="Export it again.") from error  # fmt: skip


def choice_of(reading: Reading, result: list[dict[str, Any]], where: str) -> str | None:
    """The label that a choice gives the whole image: that of the asked-for control, else of any."""
    choices = [entry for entry in _parsed(result, where) if entry.type == "choices"
               and reading.label_column in (None, entry.from_name)]  # fmt: skip
    return reading.label(_name(choices[0], "choices", where)) if choices else None


def _name(entry: Result, key: str, where: str) -> str:
    names = entry.value.get(key)
    if not isinstance(names, list) or len(names) != 1:
        raise DataError(f"{where} has a mark or choice without one label",
                        expected=f"one name under {key}", found=str(names)[:80],
                        remedy="Label it once.")  # fmt: skip
    return str(names[0])
