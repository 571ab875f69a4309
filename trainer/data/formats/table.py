"""A CSV manifest: a line an image; `image`, `mask`, `label` or `defect`, `appraiser:NAME`, anything else."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from fleet_contract.errors import DataError
from trainer.data.formats.reading import Reading, Row, inside, read_text, side_of
from trainer.data.formats.shapes import MaskFile

MANIFESTS = ("manifest.csv", "tiles.csv")
_APPRAISER = "appraiser:"
_DEFECT = "defect"


def label_column(columns: list[str], asked: str | None) -> str:
    """The column that holds the label: the one that was asked for, else `label`, else `defect`."""
    return asked or ("label" if "label" in columns else _DEFECT)


def read_table(reading: Reading) -> Iterator[Row]:
    """Rows of a CSV file, or of the manifest in a folder. Paths are relative to the file, or to the root."""
    path = manifest_of(reading.path)
    if path is None:
        raise DataError(f"{reading.path} holds no manifest", expected=" or ".join(MANIFESTS))
    text = read_text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    columns = [column.strip() for column in reader.fieldnames or []]
    reader.fieldnames = columns
    _need_columns(path, columns, reading)
    try:
        for cells in reader:
            with reading.findings.gather():
                yield _row(reading, path, columns, cells, reader.line_num)
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} of {path} is not CSV: {error}",
                        remedy="Close its quotes.") from error  # fmt: skip


def manifest_of(path: Path) -> Path | None:
    """The file itself, or a folder's manifest: by its name, or the only CSV file if it lists images."""
    if path.is_file():
        return path
    known = [path / name for name in MANIFESTS if (path / name).is_file()]
    files = sorted(path.glob("*.csv"))
    alone = files[0] if len(files) == 1 and _lists_images(files[0]) else None
    return next(iter(known), alone)


def _lists_images(path: Path) -> bool:
    first = path.read_bytes().partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    return "image" in [cell.strip(' "') for cell in first.strip().split(_delimiter(first))]


def _delimiter(text: str) -> str:
    """The separator that the first line has most of: comma, semicolon or tab."""
    first = text.partition("\n")[0]
    return max((",", ";", "\t"), key=first.count)


def _need_columns(path: Path, columns: list[str], reading: Reading) -> None:
    label = label_column(columns, reading.label_column)
    missing = [column for column in ("image", label) if column not in columns]
    if missing == [_DEFECT] and "mask" in columns:
        return  # the mask says it
    if missing:
        raise DataError(
            f"{path} lacks a column",
            expected=", ".join(missing),
            found=", ".join(columns) or "an empty file",
            remedy="Name it in the first line, or say which one it is with --label-column.",
        )


def _row(
    reading: Reading, path: Path, columns: list[str], cells: dict[str, str], number: int
) -> Row:
    if None in cells or None in cells.values():
        raise DataError(f"line {number} of {path} has another number of cells",
                        expected=f"{len(columns)}")  # fmt: skip
    base = reading.root or path.parent
    name, mask = cells["image"].strip(), cells.get("mask", "").strip()
    if not name:
        raise DataError(f"line {number} of {path} names no image")
    column = label_column(columns, reading.label_column)
    label = reading.label(cells[column]) if column in cells else None
    people = {c.removeprefix(_APPRAISER).strip(): reading.label(cells[c])
              for c in columns if c.startswith(_APPRAISER) and cells[c].strip()}  # fmt: skip
    shape = MaskFile(label or _DEFECT, inside(base, mask, of=path)) if mask else None
    return Row(
        image=inside(base, name, of=path),
        source=name.replace("\\", "/"),
        label=label,
        shapes=() if shape is None else (shape,),
        fields={column: cells[column].strip() for column in columns},
        appraisals=people,
        side=side_of(cells.get("split", "")),
        told_by=path,
    )
