"""Which format a source is in, by the conventions that each tool writes."""

from collections.abc import Callable
from pathlib import Path

from fleet_contract.errors import DataError
from trainer.data.formats.coco import documents, is_coco, read_coco
from trainer.data.formats.folders import good_folder, read_folders
from trainer.data.formats.labelstudio import is_labelstudio, read_labelstudio
from trainer.data.formats.mvtec import is_mvtec, read_mvtec
from trainer.data.formats.pairs import read_pairs
from trainer.data.formats.reading import Reader, read_json
from trainer.data.formats.table import manifest_of, read_table
from trainer.data.formats.voc import annotation_files, read_voc
from trainer.data.formats.yolo import is_yolo, read_yolo

READERS: dict[str, Reader] = {
    "csv": read_table,
    "mvtec": read_mvtec,
    "coco": read_coco,
    "labelstudio": read_labelstudio,
    "voc": read_voc,
    "yolo": read_yolo,
    "masks": read_pairs,
    "folders": read_folders,
}
AUTO = "auto"

_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".xml": "voc", ".yaml": "yolo", ".yml": "yolo"}


def detect(path: Path, good: str) -> tuple[str, str]:
    """The format of a source, and why. Raises DataError where it is none that is known."""
    found = _of_folder(path, good) if path.is_dir() else _of_file(path)
    if found is None:
        raise DataError(
            f"{path} is in no format that is known",
            expected=", ".join(READERS),
            found=", ".join(sorted(p.name for p in path.iterdir())[:8]) if path.is_dir() else "",
            remedy="Name it with --format, then the message says what is missing.",
        )
    return found


def _of_file(path: Path) -> tuple[str, str] | None:
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix], f"its name ends in {suffix}"
    return _of_json([path]) if suffix == ".json" else None


def _of_json(paths: list[Path]) -> tuple[str, str] | None:
    for path in paths:
        document = read_json(path)
        if is_coco(document):
            return "coco", f"{path.name} has images and annotations"
        if is_labelstudio(document):
            return "labelstudio", f"{path.name} is a list of tasks"
    return None


def _of_folder(path: Path, good: str) -> tuple[str, str] | None:
    manifest = manifest_of(path)
    if manifest is not None:
        return "csv", f"it holds {manifest.name}"
    if is_mvtec(path, good):
        return "mvtec", "it holds train/ with good parts and test/"
    tests: list[tuple[str, Callable[[], bool], str]] = [
        ("voc", lambda: bool(annotation_files(path)), "it holds XML files"),
        ("yolo", lambda: is_yolo(path), "it names classes, or holds labels/ with texts"),
        ("masks", lambda: _has(path, "images", "masks"), "it holds images/ and masks/"),
        ("folders", lambda: good_folder(path, good) is not None, f"it holds a folder {good}/"),
    ]
    json = _of_json(documents(path))
    return json or next(((name, why) for name, test, why in tests if test()), None)


def _has(path: Path, *names: str) -> bool:
    return all((path / name).is_dir() for name in names)
