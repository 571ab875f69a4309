"""Numbers of parts for sources whose camera counts none: given once, also over a sudden end.

Verdicts are stored in batches. What was announced or judged since the last one is lost with the
process; its numbers must not be: they would come twice, for other parts. The last number given
stands in a file that is written without waiting for the disk: the kernel keeps it when the process
is killed. After a power cut an older one may stand there, as old as what the disk kept of the rest.
"""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

_DIGITS = 20


class Numbers:
    """Of triggers; a part's number lies `base` above. In memory: for whoever only looks.

    Not thread-safe.
    """

    def __init__(self, base: int = 0) -> None:
        self.base = base
        self._last = 0

    def begin(self, after: int) -> None:
        """The last one that is stored: numbers go on after it, and after all that were given."""
        self._last = max(self._last, after)

    def next(self) -> int:
        """A number that was never given."""
        self._last += 1
        return self._last

    def close(self) -> None:
        """Lets go."""


class KeptNumbers(Numbers):
    """Kept in a file, from `begin` on; a disk that refuses is told once, and holds up nothing."""

    def __init__(self, path: Path, base: int) -> None:
        super().__init__(base)
        self._path = path
        self._file: int | None = None

    def begin(self, after: int) -> None:
        given = 0
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            text = os.pread(self._file, _DIGITS, 0)
            given = int(text) if text.isdigit() else 0
        except OSError as error:
            log.warning("numbers of parts cannot be kept: %s", error)
        super().begin(max(after, given))

    def next(self) -> int:
        number = super().next()
        if self._file is not None:
            try:
                os.pwrite(self._file, b"%0*d" % (_DIGITS, number), 0)
            except OSError as error:
                log.warning("numbers of parts cannot be kept: %s", error)
                self.close()
        return number

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
