"""Writes a dataset version for other tools: its images, and annotations in their format.

Parts, sides and slices go along where the format has room for them: COCO and Label Studio.
"""

import re
from collections.abc import Callable
from pathlib import Path

from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import ConfigError, ResourceError
from trainer.data.formats.exported import Exported, exported
from trainer.data.formats.to_coco import write_coco
from trainer.data.formats.to_labelstudio import write_labelstudio
from trainer.data.formats.to_yolo import write_yolo
from trainer.data.store import Store

Writer = Callable[[Path, list[Exported]], None]
"""Writes the annotations of images, which lie in the folder already."""

WRITERS: dict[str, Writer] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "labelstudio": write_labelstudio,
}
_SUFFIXES = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8", ".jpg"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


def export_version(
    store: Store,
    version: DatasetVersion,
    format_: str,
    out: Path,
    tick: Callable[[int, int], None] | None = None,
) -> int:
    """Writes `version` below `out`, which must be empty; returns how many images it has.

    An image that its file says to turn is written anew as PNG, as models see it. Raises ConfigError
    for another format, ResourceError where `out` holds something.
    """
    if format_ not in WRITERS:
        raise ConfigError("--format is not known", expected=", ".join(WRITERS),
                          found=repr(format_))  # fmt: skip
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResourceError(f"{out} is not empty", expected="a folder that is new or empty",
                            remedy="Choose another one, or empty it.")  # fmt: skip
    found = []
    for index, item in enumerate(version.items):
        one, data = exported(store, item)
        one = one.named(f"{_stem(item.source)}-{item.sha256[:12]}{_suffix(data)}")
        path = out / _folder(format_, item.split) / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        found.append(one)
        if tick is not None:
            tick(index + 1, len(version.items))
    WRITERS[format_](out, found)
    return len(found)


def _folder(format_: str, split: str) -> str:
    if format_ != "yolo":
        return "images"
    return "images/train" if split == "train" else "images/val"


def _stem(source: str) -> str:
    """A name that every tool can read; the digest behind it keeps it from being another's."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", Path(source).stem)[:60] or "image"


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in _SUFFIXES if data.startswith(magic)), ".png")
