"""Label Studio's JSON export: tasks with annotations by several people; places in per cent of the image.

A task that nobody annotated, or that everybody skipped, is left out; an annotation without a result
says good.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError
from fleet_contract.messages import first_problem
from trainer.data.formats.coco import documents
from trainer.data.formats.labelstudio_marks import Mark, choice_of, labelled, mark
from trainer.data.formats.reading import IMAGE_SUFFIXES, Reading, Row, inside, read_json, side_of
from trainer.data.formats.shapes import Shape, Size, largest_label

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")


class Part(BaseModel):
    """A part of a task."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Annotation(Part):
    """What one person said."""

    result: list[dict[str, Any]] = Field(default_factory=list)
    was_cancelled: bool = False
    ground_truth: bool | None = False
    updated_at: str = ""
    completed_by: int | str | dict[str, Any] | None = None

    @property
    def person(self) -> str:
        """Their mail address or number; empty where it is not known."""
        by = self.completed_by
        if isinstance(by, dict):
            by = next((by[key] for key in ("email", "username", "id") if by.get(key)), None)
        return "" if by is None else str(by)


class Task(Part):
    """An image and what was said of it."""

    data: dict[str, Any]
    annotations: list[Annotation]
    file_upload: str | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """One annotation, understood."""

    person: str
    label: str
    shapes: tuple[Shape, ...]
    size: Size | None
    truth: bool
    when: str


def is_labelstudio(document: object) -> bool:
    """Whether a JSON document is a list of tasks."""
    return (isinstance(document, list) and bool(document) and isinstance(document[0], dict)
            and "data" in document[0])  # fmt: skip


def read_labelstudio(reading: Reading) -> Iterator[Row]:
    """Rows of an export, or of every export in a folder."""
    for path in documents(reading.path):
        tasks = read_json(path)
        if is_labelstudio(tasks):
            yield from _rows(reading, path, tasks)
        elif reading.path.is_file():
            raise DataError(f"{path} is not Label Studio's JSON",
                            expected="a list of tasks with data and annotations",
                            remedy="Export as JSON, not as JSON-MIN or CSV.")  # fmt: skip


def _rows(reading: Reading, path: Path, tasks: list[Any]) -> Iterator[Row]:
    skipped = 0
    for number, entry in enumerate(tasks):
        with reading.findings.gather():
            try:
                task = Task.model_validate(entry)
            except ValidationError as error:
                raise DataError(f"{path}: task {number}: {first_problem(error)}",
                                remedy="Export as JSON, not as JSON-MIN or CSV.") from error  # fmt: skip
            where = f"task {number} of {path}"
            opinions = [
                _opinion(reading, a, where) for a in task.annotations if not a.was_cancelled
            ]
            if opinions:
                yield _row(reading, path, task, opinions)
            else:
                skipped += 1
    if skipped:
        reading.findings.notes.append(f"{skipped} tasks that nobody annotated were left out")


def _row(reading: Reading, path: Path, task: Task, opinions: list[Opinion]) -> Row:
    image = _image(reading, path, task)
    said = {opinion.person: opinion.label for opinion in opinions if opinion.person}
    chosen = _chosen(opinions)
    return Row(
        image=image,
        source=reading.name_of(image),
        label=chosen.label,
        shapes=chosen.shapes,
        size=chosen.size,
        fields={k: str(v) for k, v in task.data.items() if isinstance(v, str | int | float)},
        appraisals=said if len(opinions) > 1 else {},
        side=side_of(str(task.data.get("split", ""))),
        told_by=path,
    )


def _chosen(opinions: list[Opinion]) -> Opinion:
    """The ground truth where there is one; else the newest of those that say what most say."""
    marked = [opinion for opinion in opinions if opinion.truth]
    if marked:
        return marked[-1]
    newest = sorted(opinions, key=lambda opinion: opinion.when)
    counts = Counter(opinion.label for opinion in newest)
    most = max(counts.values())
    return next(o for o in reversed(newest) if counts[o.label] == most)


def _opinion(reading: Reading, annotation: Annotation, where: str) -> Opinion:
    marks = [m for entry in labelled(annotation.result, where) for m in mark(reading, entry, where)]
    choice = choice_of(reading, annotation.result, where)
    size = next((m.size for m in marks if m.size), None)
    if choice == GOOD and marks:
        raise DataError(f"{where} is called good, and has a mark of class {marks[0].label}",
                        expected="a good part without marks", remedy="Correct one of them.")  # fmt: skip
    return Opinion(
        person=annotation.person,
        label=_largest(marks, size) or choice or GOOD,
        shapes=tuple(m.shape for m in marks),
        size=size,
        truth=bool(annotation.ground_truth),
        when=annotation.updated_at,
    )


def _largest(marks: list[Mark], size: Size | None) -> str | None:
    labels = {m.label for m in marks}
    if len(labels) <= 1 or size is None:
        return next(iter(sorted(labels)), None)
    return largest_label([patch for m in marks for patch in m.shape.patches(size)])


def _image(reading: Reading, path: Path, task: Task) -> Path:
    names = [str(value) for value in task.data.values() if _is_image(str(value))]
    names += [task.file_upload] if task.file_upload else []
    if not names:
        raise DataError(f"{path} has a task without an image", found=str(task.data)[:120],
                        expected="data.image")  # fmt: skip
    bases = [reading.root] if reading.root else [path.parent, path.parent / "images"]
    for name in names:
        for candidate in _candidates(name):
            for base in bases:
                image = inside(base, candidate, of=path)
                if image.is_file():
                    return image
    raise DataError(f"image {names[0]} is missing", expected=f"below {bases[0]}, as {path} says",
                    remedy="Copy it there, or say with --root where the images are.")  # fmt: skip


def _is_image(text: str) -> bool:
    return Path(_path_of(text)).suffix.lower() in IMAGE_SUFFIXES


def _path_of(name: str) -> str:
    """The path of an address, or of what Label Studio serves from a local folder (`?d=PATH`)."""
    parts = urlsplit(name)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path) if parts.scheme else name


def _candidates(name: str) -> Iterator[str]:
    """The path, ever shorter from the left; at last the file without an upload's prefix."""
    parts = _path_of(name).strip("/").split("/")
    yield from ("/".join(parts[start:]) for start in range(len(parts)))
    yield _UPLOAD_PREFIX.sub("", parts[-1])
