"""What every reader gives and meets: rows, problems that are gathered, names that stay inside the source."""

import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fleet_contract.dataset import GOOD
from fleet_contract.errors import DataError
from trainer.data.formats.shapes import Shape

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_SHOWN_PROBLEMS = 20
_NAMED = 3
_LABEL_LENGTH = 40
_SIDES = re.compile(r"(?:^|[_.-])(train|val|valid|validation|test|holdout)(?:ing)?\d*(?:$|[_.-])")


@dataclass(frozen=True, slots=True)
class Row:
    """One image as its source describes it."""

    image: Path
    source: str
    """The image's path below the source, with `/`."""
    label: str | None = None
    """None: the class of its largest region, good where there is none."""
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    """Width and height that the source gives the image, where it does."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What else is known of the image: columns of a CSV, keys of a JSON entry."""
    appraisals: Mapping[str, str] = field(default_factory=dict)
    """Label by person."""
    side: Literal["train", "holdout"] | None = None
    """The side of the source's own split, where it has one."""
    told_by: Path | None = None
    """The file that says what the image shows, where it is one of its own."""


@dataclass(slots=True)
class Findings:
    """What an import meets: problems stop it, notes are told."""

    problems: list[DataError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _seen: dict[str, list[str]] = field(default_factory=dict)

    def remark(self, what: str, source: str) -> None:
        """Something about one image that is told once for all of them."""
        self._seen.setdefault(what, []).append(source)

    def told(self) -> list[str]:
        """All notes, each once."""
        about = [f"{len(names)} images {what} ({', '.join(names[:_NAMED])}{_and_more(names)})"
                 for what, names in self._seen.items()]  # fmt: skip
        return [*dict.fromkeys(self.notes), *about]

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Keeps a DataError of the block, so that the next image is looked at too."""
        try:
            yield
        except DataError as error:
            self.problems.append(error)

    def raise_all(self) -> None:
        """Raises DataError with the first problems, where there are any."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if not self.problems:
            return
        lines = [f"- {problem}" for problem in self.problems[:_SHOWN_PROBLEMS]]
        more = len(self.problems) - len(lines)
        lines += [f"- and {more} more"] if more else []
        said = "\n".join(lines)
        raise DataError(f"{len(self.problems)} problems, and nothing was imported\n{said}")


def _and_more(names: list[str]) -> str:
    return ", ..." if len(names) > _NAMED else ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A source that is read: where it is, how it names what is good, what is met on the way."""

    path: Path
    """The file or folder that was given."""
    good: str = GOOD
    root: Path | None = None
    """Where the images are, if not beside their annotations."""
    label_column: str | None = None
    findings: Findings = field(default_factory=Findings)
    _labels: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the source."""
        return self.path if self.path.is_dir() else self.path.parent

    def label(self, text: str) -> str:
        """A class's name as a label. Raises DataError where another class has that label already."""
        label = class_name(text, self.good)
        first = self._labels.setdefault(label, text.strip())
        if label != GOOD and first.casefold() != text.strip().casefold():
            raise DataError(f"the classes {first!r} and {text.strip()!r} get the same label",
                            expected="names that differ in their first 40 letters and digits",
                            found=repr(label), remedy="Rename one of them in the source.")  # fmt: skip
        return label

    def name_of(self, image: Path) -> str:
        """The image's path below the source's folder, or below the root, with `/`."""
        for base in (self.folder, self.root):
            if base is not None and image.is_relative_to(base):
                return image.relative_to(base).as_posix()
        return image.name


def class_name(text: str, good: str) -> str:
    """A class as a label may be written: a to z, digits, `_` and `-`; empty text is good.

    Accents fall away; a letter of another script becomes `u` and its code point.
    """
    bare = text.strip()
    if bare.casefold() in ("", good.casefold()):
        return GOOD
    plain = unicodedata.normalize("NFKD", bare.casefold())
    spelt = "".join(_letter(c) for c in plain if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9_-]+", "_", spelt.strip())[:_LABEL_LENGTH]


def _letter(character: str) -> str:
    if character.isascii() or not character.isalnum():
        return character
    return f" u{ord(character):x}"


def inside(base: Path, name: str, *, of: Path) -> Path:
    """`base / name`, where `name` stays below `base`. Raises DataError that names the file `of`."""
    joined = Path(os.path.normpath(base / name.replace("\\", "/")))
    if not joined.is_relative_to(os.path.normpath(base)) or "\0" in name:
        raise DataError(f"{of} names a file outside of its folder", expected=f"a path below {base}",
                        found=repr(name[:200]),
                        remedy="Move the images there, or say where they are with --root.")  # fmt: skip
    return joined


def find(bases: list[Path], name: str, *, of: Path) -> Path:
    """The first of `bases` that holds `name`. Raises DataError that names both files."""
    for base in bases:
        path = inside(base, name, of=of)
        if path.is_file():
            return path
    raise DataError(
        f"image {name} is missing",
        expected=f"a file below {' or '.join(str(base) for base in bases[:3])}, as {of} says",
        remedy="Copy it there, or say with --root where the images are.",
    )


def read_text(path: Path) -> str:
    """A text in UTF-8, with or without its mark. Raises DataError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8", expected="UTF-8",
                        found=f"byte 0x{error.object[error.start]:02x} at {error.start}",
                        remedy="Save it again with that encoding.") from error  # fmt: skip
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """A JSON document. Raises DataError that names file and place."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", expected="a whole JSON document",
                        remedy="Export it again; it may have been cut off.") from error  # fmt: skip


def images_below(folder: Path) -> list[Path]:
    """Every image below a folder, sorted; hidden files and folders are left out."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return sorted(p for p in found if not _hidden(p.relative_to(folder)))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def by_stem(images: list[Path], findings: Findings) -> dict[str, Path]:
    """Image by its stem; two images of one stem are a problem: their annotation has one name."""
    found: dict[str, Path] = {}
    for image in images:
        first = found.setdefault(image.stem, image)
        if first is not image:
            with findings.gather():
                raise DataError(f"{first} and {image} share one annotation",
                                expected="one image for each stem",
                                remedy="Rename or remove one of them.")  # fmt: skip
    return found


def side_of(*names: str) -> Literal["train", "holdout"] | None:
    """The side that folders or files named so stand for: `train`, or `val`, `valid`, `test`, `holdout`."""
    for name in names:
        match = _SIDES.search(name.lower())
        if match:
            return "train" if match[1] == "train" else "holdout"
    return None


Reader = Callable[[Reading], Iterator[Row]]
"""Rows of a source; problems of single images go into `reading.findings`. Raises DataError."""
