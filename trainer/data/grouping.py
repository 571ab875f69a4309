"""Which physical part each image shows, and which slices it belongs to, from columns, names or likeness."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import ConfigError, DataError
from trainer.data.duplicates import propose_groups
from trainer.data.formats.reading import Findings, Row
from trainer.data.formats.table import label_column

AUTO, NONE, PATTERN = "auto", "none", "re:"
_GROUP = "group"
_LONGEST = 200
_ONE_FIXTURE = 0.2
"""A cluster with more than this share of the images shows what parts have in common, not a part."""
_SHOTS = 12
"""So many pictures of one part are nothing special."""

Thumbnail = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Picture:
    """What likeness is judged by."""

    thumbnail: Thumbnail
    label: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of images that are there already: their parts and pictures."""

    groups: Sequence[str] = ()
    thumbnails: Sequence[Thumbnail] = ()


@dataclass(frozen=True, slots=True)
class Naming:
    """Where parts and slices are written."""

    group: str = ""
    """A column, `re:` and a pattern, `auto` (near-duplicates are one part), `none` (every image is a
    part of its own), or empty: the column `group` where there is one, else `auto`."""
    slices: Sequence[str] = ()
    """Columns, or NAME=re:PATTERN."""
    label: str | None = None
    """The column of the label, where it was named."""
    every: bool = False
    """Whether every other column is a slice where none is named."""


def group_names(
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    naming: Naming,
    known: Known,
    findings: Findings,
) -> list[str]:
    """The part of every row, by `naming.group`."""
    asked = naming.group
    if not asked and all(row.fields.get(_GROUP) for row in rows):
        asked = _GROUP
    if asked in ("", AUTO):
        return _alike(rows, pictures, asked, known, findings)
    if asked == NONE:
        return [_own(row, set(known.groups)) for row in rows]
    check_columns(rows, [asked])
    value = value_of(asked)
    names = []
    for row in rows:
        with findings.gather():
            names.append(_part(row, value(row)))
    return names


def _part(row: Row, name: str) -> str:
    return (name or row.source)[:_LONGEST]


def _own(row: Row, taken: set[str]) -> str:
    """The image's own name; another image of an earlier import may have the same."""
    name = row.source[-_LONGEST:]
    number = 2
    while name in taken:
        name = f"{row.source[-_LONGEST + 8 :]}#{number}"
        number += 1
    return name


def _alike(
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    asked: str,
    known: Known,
    findings: Findings,
) -> list[str]:
    given = [*known.groups, *(row.fields.get(_GROUP) or None for row in rows)]
    thumbnails = [*known.thumbnails, *(picture.thumbnail for picture in pictures)]
    proposed = propose_groups(thumbnails, given)[len(known.groups) :]
    taken = set(known.groups)
    own = [_own(row, taken) for row in rows]
    if not asked and _too_alike(proposed, [picture.label for picture in pictures]):
        findings.notes.append(
            "images look too much alike to tell parts by: every image counts as a part of its own; "
            "name the part with --group, or take the likeness for it with --group auto"
        )
        return own
    counts = Counter(proposed)
    names = [p if counts[p] > 1 or p in taken else o for p, o in zip(proposed, own, strict=True)]
    together = [row.source for row, name, o in zip(rows, names, own, strict=True) if name != o]
    if together:
        findings.notes.append(
            f"no part was named: {len(together)} images look like others of the same part and stand "
            f"on one side with them ({', '.join(together[:3])}); --group names the part, --group none "
            "takes every image for a part of its own"
        )
    return names


def _too_alike(names: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether one cluster holds too many images, or all of a class: then it shows no single part."""
    largest = max(Counter(names).values())
    if largest > max(_SHOTS, _ONE_FIXTURE * len(names)):
        return True
    images = Counter(labels)
    parts = Counter(label for _, label in set(zip(names, labels, strict=True)))
    return any(count > 1 and parts[label] == 1 for label, count in images.items())


def value_of(asked: str) -> Callable[[Row], str]:
    """What gives a row's value: a column's name, or `re:` and a pattern with one group.

    The pattern is searched in the file's name, then in its path below the source. The function
    raises DataError where there is no such column, or where the pattern is not found.
    """
    if not asked.startswith(PATTERN):
        return lambda row: _cell(row, asked)
    try:
        pattern = re.compile(asked.removeprefix(PATTERN))
    except re.error as error:
        raise ConfigError(f"{asked!r} is no regular expression: {error}") from error
    if pattern.groups != 1:
        raise ConfigError(f"{asked!r} is not usable", expected="one group in parentheses",
                          found=str(pattern.groups))  # fmt: skip
    return lambda row: _match(row, pattern)


def check_columns(rows: Sequence[Row], names: Iterable[str]) -> None:
    """Raises ConfigError for a name, of those that are no patterns, that no image has as a column."""
    known = list(dict.fromkeys(column for row in rows for column in row.fields))
    for name in names:
        if PATTERN not in name and name not in known:
            raise ConfigError(f"no image has a column {name!r}",
                              expected=", ".join(known) or "a format with columns",
                              remedy="Name one of those, or a pattern over file names: re:(...).",
                              )  # fmt: skip


def _cell(row: Row, column: str) -> str:
    if column not in row.fields:
        raise DataError(f"{row.source} has no column {column!r}",
                        found=", ".join(row.fields) or "no columns in this format",
                        remedy="Name one of those, or a pattern over file names: re:(...).")  # fmt: skip
    return row.fields[column].strip()


def _match(row: Row, pattern: re.Pattern[str]) -> str:
    found = pattern.search(row.image.name) or pattern.search(row.source)
    if found is None or not found[1]:
        raise DataError(f"the name of {row.source} does not fit", expected=f"{pattern.pattern!r}",
                        remedy="Widen the pattern, or rename the file.")  # fmt: skip
    return found[1]


def slices_of(rows: Sequence[Row], naming: Naming, findings: Findings) -> list[dict[str, str]]:
    """The slices of every row, by `naming.slices`; a value that is empty is left out."""
    check_columns(rows, naming.slices)
    names = dict(_named(text) for text in naming.slices)
    if not names and naming.every and rows:
        columns = list(rows[0].fields)
        special = {"image", "mask", label_column(columns, naming.label), _GROUP, naming.group}
        names = {c: value_of(c) for c in columns if c not in special and ":" not in c}
    slices = []
    for row in rows:
        with findings.gather():
            values = {name: value(row) for name, value in names.items()}
            slices.append({name: value for name, value in values.items() if value})
    return slices


def _named(text: str) -> tuple[str, Callable[[Row], str]]:
    name, sign, pattern = text.partition("=")
    return (name, value_of(pattern)) if sign else (text, value_of(text))


def wanted(row: Row, where: Mapping[str, frozenset[str]]) -> bool:
    """Whether each column that is asked for holds one of its values. Raises DataError where there is none."""
    return all(_cell(row, column) in values for column, values in where.items())
