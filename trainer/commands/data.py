"""Commands about configuration and data."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.console import Console

from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import ConfigError
from fleet_contract.names import LINE_PATTERN
from trainer.commands.show import bar, dataset_table
from trainer.data.exporting import WRITERS, export_version
from trainer.data.formats.detect import AUTO, READERS
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store
from trainer.template import template

DEFAULT_STORE = Path(".loupe/store")
StoreOption = Annotated[
    Path,
    typer.Option("--store", envvar="LOUPE_STORE", help="Folder of images, data sets and runs."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def new(
    line: Annotated[str, typer.Argument(help="The line's name.")],
    good_only: Annotated[
        bool, typer.Option("--good-only", help="Learn from images of good parts alone.")
    ] = False,
) -> None:
    """Print a complete configuration for a line, with every default."""
    check_line(line)
    typer.echo(template(line, "good_only" if good_only else "supervised"), nl=False)


def import_images(
    source: Annotated[Path, typer.Argument(help="Folder of images, or a CSV, JSON or XML file.")],
    line: Annotated[str, typer.Option(help="The line's name.")],
    store: StoreOption = DEFAULT_STORE,
    format_: Annotated[str, typer.Option("--format", help=f"{AUTO}, {', '.join(READERS)}.")] = AUTO,
    group: Annotated[
        str,
        typer.Option(
            help="The physical part: a column, 're:PATTERN' with one group over file names, auto "
            "(by likeness) or none. Default: the column group where there is one, else auto."
        ),
    ] = "",
    slice_: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            help="What results are reported by: a column, or NAME=re:PATTERN over file names. "
            "Default: in a CSV file every other column.",
        ),
    ] = None,
    good: Annotated[str, typer.Option(help="The good class; an empty label is good too.")] = "good",
    label_column: Annotated[str, typer.Option(help="Column of the label.")] = "",
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE,VALUE: only these.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the images are, if not beside their annotations.")
    ] = None,
    holdout: Annotated[float, typer.Option(help="Share of parts kept for measuring.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Decides which parts.")] = 0,
    keep_split: Annotated[
        bool, typer.Option("--keep-split", help="Hold out what the source tests or validates on.")
    ] = False,
    channels: Annotated[int, typer.Option(help="1 grey, 3 RGB, 0 as the images are.")] = 0,
    add_to: Annotated[str, typer.Option(help="Digest of the version that gets more images.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Import images with labels, boxes or masks as a data set, split by part."""
    check_line(line)
    if channels not in (0, 1, 3):
        raise ConfigError("--channels is not usable", expected="0, 1 or 3", found=str(channels))
    options = ImportOptions(
        line=line, format=format_, holdout=holdout, seed=seed,
        channels=cast(Literal[1, 3], channels) if channels else None,
        label_column=label_column or None, group=group, slices=tuple(slice_ or []), good=good,
        where=dict(parse_where(text) for text in where or []), root=root, keep_split=keep_split,
    )  # fmt: skip
    opened, notes = Store(store), list[str]()
    parent = opened.version(add_to) if add_to else None
    with bar("importing") as tick:
        version = import_source(opened, source, options, tick, parent=parent, say=notes.append)
    for note in notes:
        typer.echo(note, err=True)
    show_version(version, as_json=as_json)


def export_dataset(
    dataset: Annotated[str, typer.Argument(help="Digest of the data set, or its beginning.")],
    format_: Annotated[str, typer.Option("--format", help=f"{', '.join(WRITERS)}.")],
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write a data set's images and annotations for other tools."""
    opened = Store(store)
    version = opened.version(dataset)
    with bar("exporting") as tick:
        count = export_version(opened, version, format_, out, tick)
    facts = {"digest": version.digest(), "format": format_, "out": str(out), "images": count}
    typer.echo(json.dumps(facts) if as_json else f"{count} images in {out}")


def show_version(version: DatasetVersion, *, as_json: bool) -> None:
    """One data set on standard output; the digest stands alone on the last line of the text form."""
    counts: dict[str, dict[str, int]] = {}
    for item in version.items:
        sides = counts.setdefault(item.label, {"train": 0, "holdout": 0})
        sides[item.split] += 1
    if as_json:
        facts = {"digest": version.digest(), "line": version.line, "reason": version.reason,
                 "channels": version.channels, "images": len(version.items),
                 "parts": len({item.group for item in version.items}), "labels": counts}  # fmt: skip
        typer.echo(json.dumps(facts))
        return
    Console(stderr=True).print(dataset_table(version, counts))
    typer.echo(version.digest())


def check_line(line: str) -> None:
    """Raises ConfigError for a name that no line may have."""
    if not re.fullmatch(LINE_PATTERN[1:-1], line):
        raise ConfigError("not a line's name", expected="lower-case letters, digits and -, up to 63",
                          found=repr(line[:80]))  # fmt: skip


def parse_where(text: str) -> tuple[str, frozenset[str]]:
    """`exposure=4,5,6` -> the column and its values. Raises ConfigError."""
    column, sign, values = text.partition("=")
    if not sign or not column or not values:
        raise ConfigError(f"--where {text!r} is not usable", expected="COLUMN=VALUE,VALUE")
    return column.strip(), frozenset(value.strip() for value in values.split(","))
