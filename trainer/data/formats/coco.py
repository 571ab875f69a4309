"""COCO's JSON: images, categories and annotations with boxes, polygons or run lengths.

Images without an annotation are good. `iscrowd` is not told apart: many tools set it for any mask of
run lengths.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_contract.errors import DataError
from fleet_contract.messages import first_problem
from trainer.data.formats.reading import Reading, Row, find, read_json, side_of
from trainer.data.formats.rle import ColumnRuns
from trainer.data.formats.shapes import Box, Pixels, Polygon, Shape, corners

_TABLES = ("images", "categories", "annotations")
Id = int | str


class Entry(BaseModel):
    """An entry of one of the lists."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ImageEntry(Entry):
    """An image."""

    id: Id
    file_name: str = Field(min_length=1)
    width: int | None = None
    height: int | None = None


class CategoryEntry(Entry):
    """A class."""

    id: Id
    name: str


class RunsEntry(Entry):
    """A mask by run lengths."""

    size: tuple[int, int]
    """Height and width."""
    counts: str | tuple[int, ...]


Ring = list[float]


class AnnotationEntry(Entry):
    """A defect."""

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float] | None = None
    segmentation: RunsEntry | list[Ring] | None = None


def is_coco(document: object) -> bool:
    """Whether a JSON document has COCO's lists."""
    return isinstance(document, dict) and {"images", "annotations"} <= set(document)


def read_coco(reading: Reading) -> Iterator[Row]:
    """Rows of a JSON file, or of every COCO file in a folder or its `annotations/`."""
    for path in documents(reading.path):
        document = read_json(path)
        if is_coco(document):
            yield from _Document(reading, path, document).rows()
        elif reading.path.is_file():
            raise DataError(f"{path} is not COCO's JSON", expected=f"lists {', '.join(_TABLES)}")


def documents(path: Path) -> list[Path]:
    """The JSON files that a source consists of."""
    if path.is_file():
        return [path]
    found = [*path.glob("*.json"), *path.glob("annotations/*.json")]
    return sorted(found) or sorted(path.glob("*/*.json"))


class _Document:
    """One JSON file."""

    def __init__(self, reading: Reading, path: Path, document: dict[str, Any]) -> None:
        self._reading, self._path = reading, path
        self._images = list(self._entries(document, "images", ImageEntry))
        self._labels: dict[Id, str] = {}
        for category in self._entries(document, "categories", CategoryEntry):
            with reading.findings.gather():
                self._labels[category.id] = reading.label(category.name)
        self._marks: dict[Id, list[AnnotationEntry]] = defaultdict(list)
        for entry in self._entries(document, "annotations", AnnotationEntry):
            self._marks[entry.image_id].append(entry)

    def rows(self) -> Iterator[Row]:
        """Its images."""
        seen: set[Id] = set()
        for image in self._images:
            with self._reading.findings.gather():
                if image.id in seen:
                    raise DataError(f"{self._path} has two images of id {image.id!r}",
                                    found=image.file_name, remedy="Number them anew.")  # fmt: skip
                seen.add(image.id)
                yield self._row(image)
        for unknown in self._marks.keys() - {image.id for image in self._images}:
            with self._reading.findings.gather():
                raise DataError(f"{self._path} annotates an image that it does not list",
                                found=f"image_id {unknown!r}",
                                remedy="Add it to images, or remove its annotations.")  # fmt: skip

    def _row(self, image: ImageEntry) -> Row:
        path = find(self._bases(), image.file_name, of=self._path)
        size = (image.width, image.height) if image.width and image.height else None
        extra = {k: str(v) for k, v in (image.model_extra or {}).items() if _plain(v)}
        return Row(
            image=path,
            source=self._reading.name_of(path),
            shapes=tuple(self._shape(mark, image) for mark in self._marks.get(image.id, [])),
            size=size,
            fields=extra,
            side=side_of(extra.get("split", ""), self._path.stem, self._path.parent.name),
            told_by=self._path,
        )

    def _bases(self) -> list[Path]:
        if self._reading.root is not None:
            return [self._reading.root]
        folder = self._path.parent
        bases = [folder, folder / "images"]
        if folder.name == "annotations":
            name = self._path.stem.removeprefix("instances_")
            above = folder.parent
            bases += [above, above / "images", above / name, above / "images" / name]
        return bases

    def _shape(self, mark: AnnotationEntry, image: ImageEntry) -> Shape:
        label = self._labels.get(mark.category_id)
        if label is None:
            raise DataError(
                f"{image.file_name} has a defect of an unknown category, in {self._path}",
                expected=f"one of {', '.join(map(str, self._labels)) or 'none'}",
                found=f"category_id {mark.category_id!r}",
                remedy="Add the category, or correct the annotation.",
            )
        if isinstance(mark.segmentation, RunsEntry):
            height, width = mark.segmentation.size
            return Pixels(label, ColumnRuns((width, height), mark.segmentation.counts))
        if mark.segmentation:
            return Polygon(label, tuple(corners(ring, self._path) for ring in mark.segmentation))
        if mark.bbox is None:
            raise DataError(f"{image.file_name} has a defect without a place, in {self._path}",
                            expected="bbox or segmentation", remedy="Draw it again.")  # fmt: skip
        return Box(label, *mark.bbox)

    def _entries(self, document: dict[str, Any], table: str, kind: type[Any]) -> Iterator[Any]:
        found = document.get(table, [])
        if not isinstance(found, list):
            raise DataError(f"{self._path} is not COCO's JSON", expected=f"a list {table}",
                            found=type(found).__name__)  # fmt: skip
        for number, entry in enumerate(found):
            with self._reading.findings.gather():
                try:
                    yield kind.model_validate(entry)
                except ValidationError as error:
                    raise DataError(
                        f"{self._path}: {table}[{number}].{first_problem(error)}",
                        remedy="Correct the entry, or export it again.",
                    ) from error


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
