"""COCO's run lengths: runs of clean and marked pixels in turn, column by column, as numbers or as text.

The text form writes a run as the difference to the run before the last, in groups of five bits, least
first, each as one character from `0` on; the sixth bit says that more follow (COCO mask API).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from trainer.data.formats.shapes import Size, wrong_size

_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48
_MAX_GROUPS = 7


@dataclass(frozen=True, slots=True)
class ColumnRuns:
    """A mask as COCO writes it."""

    size: Size
    """Width and height."""
    counts: str | tuple[int, ...]

    def decode(self, size: Size) -> NDArray[np.bool_]:
        """[height, width]. Raises DataError where it is of another size, or does not add up."""
        if self.size != size:
            raise wrong_size("a run-length mask", self.size, size)
        counts = text_counts(self.counts) if isinstance(self.counts, str) else list(self.counts)
        width, height = size
        if min(counts, default=0) < 0 or sum(counts) != width * height:
            raise DataError("a run-length mask does not add up",
                            expected=f"{width * height} pixels in all", found=str(sum(counts)),
                            remedy="Export it again.")  # fmt: skip
        marks = np.arange(len(counts)) % 2 == 1
        return np.repeat(marks, counts).reshape(width, height).T


def runs(pixels: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a mask [height, width]; the first is of clean pixels and may be 0."""
    flat = pixels.T.ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    borders = np.concatenate([[0], turns, [flat.size]])
    counts: list[int] = np.diff(borders).tolist()
    return [0, *counts] if flat.size and flat[0] else counts


def counts_text(counts: list[int]) -> str:
    """Run lengths as COCO's text."""
    characters: list[str] = []
    for index, count in enumerate(counts):
        value = count - (counts[index - 2] if index > 2 else 0)
        more = True
        while more:
            group = value & (_MORE - 1)
            value >>= _BITS
            more = value != (-1 if group & _SIGN else 0)
            characters.append(chr(_FIRST + group + (_MORE if more else 0)))
    return "".join(characters)


def text_counts(text: str) -> list[int]:
    """Run lengths of COCO's text. Raises DataError where it breaks off or has foreign characters."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - _FIRST
        if not 0 <= group < 2 * _MORE or shift > _MAX_GROUPS * _BITS:
            raise DataError("a run-length text is broken", expected="characters from 0 to o",
                            found=repr(character), remedy="Export it again.")  # fmt: skip
        value |= (group & (_MORE - 1)) << shift
        shift += _BITS
        if group & _MORE:
            continue
        if group & _SIGN:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("a run-length text breaks off", remedy="Export it again.")
    return counts
