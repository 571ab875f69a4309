"""Label Studio's brush: the bytes of an RGBA picture, packed by runs into a stream of bits.

Head: 32 bits number of words, 5 bits word size less one, four times 4 bits a length's size less one.
Then, until all words are there: 1 bit (1: one word for the whole run, 0: every word follows), 2 bits
which of the four sizes, the run's length less one, the word or words (thi.ng/rle-pack). The fourth
byte of a pixel, its opacity, is the mask.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from trainer.data.formats.shapes import Size, wrong_size

_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_PLANES = 4


@dataclass(frozen=True, slots=True)
class BrushRuns:
    """A mask as Label Studio writes it."""

    size: Size
    """Width and height."""
    code: bytes

    def decode(self, size: Size) -> NDArray[np.bool_]:
        """[height, width]: where the brush was. Raises DataError where it is not of that size, or broken."""
        if self.size != size:
            raise wrong_size("a brush mask", self.size, size)
        words = _Bits(self.code).words(size[0] * size[1] * _PLANES)
        return words[_PLANES - 1 :: _PLANES].reshape(size[1], size[0]) > 0


class _Bits:
    """Reads numbers of any size, highest bit first."""

    def __init__(self, code: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(code, np.uint8))
        self._place = 0

    def words(self, expected: int) -> NDArray[np.uint8]:
        """All words."""
        count, word_bits = self._number(32), self._number(5) + 1
        sizes = [self._number(4) + 1 for _ in range(4)]
        if count != expected or word_bits != _WORD_BITS:
            raise DataError("a brush mask is of another size than it says",
                            expected=f"{expected} bytes", found=f"{count} words of {word_bits} bits",
                            remedy="Export it again.")  # fmt: skip
        words = np.empty(count, np.uint8)
        done = 0
        while done < count:
            same = self._number(1)
            length = self._number(sizes[self._number(2)]) + 1
            read = self._take((1 if same else length) * _WORD_BITS)
            words[done : done + length] = np.packbits(read)[: count - done]
            done += length
        return words

    def _number(self, bits: int) -> int:
        number = 0
        for bit in self._take(bits).tolist():
            number = number << 1 | bit
        return number

    def _take(self, bits: int) -> NDArray[np.uint8]:
        taken = self._bits[self._place : self._place + bits]
        if len(taken) < bits:
            raise DataError("a brush mask breaks off", found=f"{len(self._bits) // 8} bytes",
                            remedy="Export it again.")  # fmt: skip
        self._place += bits
        return taken


def brush_code(pixels: NDArray[np.bool_]) -> bytes:
    """A mask [height, width] as Label Studio reads it: all four bytes of a marked pixel are 255."""
    flat = pixels.ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    borders = np.concatenate([[0], turns, [flat.size]])
    head = [(flat.size * _PLANES, 32), (_WORD_BITS - 1, 5), *((n - 1, 4) for n in _LENGTH_BITS)]
    numbers = head
    for first, last in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        numbers += _run((last - first) * _PLANES, 255 if flat[first] else 0)
    return _packed(numbers)


def _run(length: int, word: int) -> list[tuple[int, int]]:
    """(number, bits) of a run; one that is longer than a length can say becomes several."""
    numbers = []
    while length:
        part = min(length, 1 << _LENGTH_BITS[-1])
        which = next(i for i, bits in enumerate(_LENGTH_BITS) if part <= 1 << bits)
        numbers += [(1, 1), (which, 2), (part - 1, _LENGTH_BITS[which]), (word, _WORD_BITS)]
        length -= part
    return numbers


def _packed(numbers: list[tuple[int, int]]) -> bytes:
    """Numbers of so many bits each, highest bit first, filled up to whole bytes."""
    values = np.array([value for value, _ in numbers], ">u4")
    sizes = np.array([bits for _, bits in numbers])
    bits = np.unpackbits(values.view(np.uint8)).reshape(-1, 32)
    return np.packbits(bits[np.arange(32) >= 32 - sizes[:, None]]).tobytes()
