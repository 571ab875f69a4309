"""Imports what people have as a dataset version: read, checked whole, split by part, stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fleet_contract.dataset import GOOD, DatasetVersion
from fleet_contract.errors import ConfigError, DataError
from trainer.data.assembling import Assembly, Plan
from trainer.data.formats.detect import AUTO, READERS, detect
from trainer.data.formats.reading import Findings, Reading, Row
from trainer.data.grouping import Naming, check_columns, wanted
from trainer.data.keeping import Kept, keep
from trainer.data.statistics import describe
from trainer.data.store import Store


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How an import reads, names and splits; a share is in (0, 1)."""

    line: str
    format: str = AUTO
    """A key of `READERS`, or `auto`."""
    holdout: float = 0.3
    seed: int = 0
    channels: Literal[1, 3] | None = None
    """1 grey, 3 RGB; None: grey where every image is."""
    label_column: str | None = None
    """None: `label`, or `defect`."""
    group: str = ""
    """Where the part's name is: see `grouping.group_names`."""
    slices: tuple[str, ...] = ()
    """Columns, or NAME=re:PATTERN; none: in a CSV file, every other column."""
    good: str = GOOD
    """What the good class is called in the source; an empty label is good as well."""
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Only images whose column holds one of the values."""
    root: Path | None = None
    """Where the images are, if not beside their annotations."""
    keep_split: bool = False
    """Take the source's own split: what it tests or validates on is held out."""


Tick = Callable[[int, int], None]
"""Told (done, total) as images are read."""
Say = Callable[[str], None]
"""Told what a person should know of the import, a sentence at a time."""


def import_source(
    store: Store,
    source: Path,
    options: ImportOptions,
    tick: Tick | None = None,
    *,
    parent: DatasetVersion | None = None,
    say: Say | None = None,
) -> DatasetVersion:
    """A file or folder in one of the formats, as a version, or as more images of `parent`.

    Stores images, masks, the version and its statistics. All problems are gathered: raises DataError that names
    the first of them, and then no version is stored.
    """
    _check_options(options, parent)
    findings = Findings()
    name, rows = _read(source, options, findings)
    kept = _keep(store, rows, findings, tick)
    findings.raise_all()
    plan = Plan(
        line=options.line,
        reason=f"import of {source.resolve().name} ({name})",
        holdout=options.holdout,
        seed=options.seed,
        channels=options.channels,
        keep_split=options.keep_split,
        naming=Naming(options.group, options.slices, options.label_column, every=name == "csv"),
    )
    version = Assembly(store, plan, parent, findings).version(kept)
    store.put_version(version)
    describe(store, version)
    for note in findings.told():
        if say is not None:
            say(note)
    return version


def _check_options(options: ImportOptions, parent: DatasetVersion | None) -> None:
    if not 0 < options.holdout < 1:
        raise DataError("the holdout share is not usable", expected="a share between 0 and 1",
                        found=f"{options.holdout}")  # fmt: skip
    if options.format not in (AUTO, *READERS):
        raise ConfigError("--format is not known", expected=", ".join((AUTO, *READERS)),
                          found=repr(options.format))  # fmt: skip
    if parent is not None and parent.line != options.line:
        raise ConfigError("the version to add to is of another line", expected=options.line,
                          found=parent.line)  # fmt: skip


def _read(source: Path, options: ImportOptions, findings: Findings) -> tuple[str, list[Row]]:
    """The format's name, and the rows that are asked for."""
    if not source.exists():
        raise DataError(
            f"{source} is not there", expected="a folder of images, a CSV, JSON or XML file"
        )
    name = options.format
    if name == AUTO:
        name, why = detect(source, options.good)
        findings.notes.append(f"taken as {name}: {why}")
    reading = Reading(source, options.good, options.root, options.label_column, findings)
    found = list(READERS[name](reading))
    if found:
        check_columns(found, options.where)
    rows: list[Row] = []
    for row in found:
        with findings.gather():
            rows += [row] if wanted(row, options.where) else []
    if not rows and not findings.problems:
        raise DataError(f"{source} holds no image that is asked for", expected=f"images as {name}",
                        remedy="Look at the path, and at --where.")  # fmt: skip
    return name, rows


def _keep(store: Store, rows: list[Row], findings: Findings, tick: Tick | None) -> list[Kept]:
    """What the store holds of every row; a picture that comes twice counts once."""
    kept: dict[str, Kept] = {}
    for index, row in enumerate(rows):
        with findings.gather():
            one = keep(store, row, findings)
            _refuse_twin(kept.setdefault(one.sha256, one), one)
        if tick is not None:
            tick(index + 1, len(rows))
    return list(kept.values())


def _refuse_twin(first: Kept, second: Kept) -> None:
    if (first.label, first.mask) == (second.label, second.mask):
        return
    same_label = first.label == second.label
    raise DataError(
        f"{first.row.source} and {second.row.source} are the same picture",
        expected="one label and one mask for one picture",
        found="two masks" if same_label else f"{first.label} and {second.label}",
        remedy="Remove one of them, or give both the same.",
    )
