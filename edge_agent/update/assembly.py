"""A wire encoding as it comes together in a file, block by block, each verified on arrival.

There is no bitmap beside the file: what is there is found by hashing it, so that a block which a
power cut tore in two is simply missing.
"""

import os
from pathlib import Path

from edge_agent.update.bundles import disk_errors
from fleet_contract.blocks import BlockHashes
from fleet_contract.errors import BundleError

MAX_WRONG = 3
"""Wrong answers for one block after which the encoding is given up."""


class Assembly:
    """One encoding's part file. Used by one thread."""

    def __init__(self, path: Path, hashes: BlockHashes) -> None:
        """Opens or makes the file at its full length. Raises DiskFullError."""
        self._path, self._hashes = path, hashes
        self._wrong: dict[int, int] = {}
        with disk_errors("the bundle's blocks"):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                # Taking the space first turns a full disk into a clean refusal at the start.
                os.posix_fallocate(self._file, 0, max(hashes.length, 1))
            except OSError:
                os.close(self._file)
                path.unlink(missing_ok=True)
                raise
        self._missing = {index for index in range(hashes.count) if not self._there(index)}

    @property
    def missing(self) -> list[int]:
        """Blocks that are not there yet, ascending."""
        return sorted(self._missing)

    def _there(self, index: int) -> bool:
        size = self._hashes.size(index)
        data = os.pread(self._file, size, index * self._hashes.block_size)
        return self._hashes.right(index, data)

    def offer(self, index: int, data: bytes) -> bool:
        """Keeps a block if it is right; a wrong one is dropped and counted.

        Raises BundleError after the third wrong answer for the same block.
        """
        if index not in self._missing:
            return 0 <= index < self._hashes.count
        if not self._hashes.right(index, data):
            self._wrong[index] = self._wrong.get(index, 0) + 1
            if self._wrong[index] >= MAX_WRONG:
                raise BundleError(
                    f"block {index} of {self._hashes.count} came wrong {MAX_WRONG} times: "
                    "its bytes are not those that were signed",
                    remedy="The copy on the server is damaged or was changed; publish it again.",
                )
            return False
        with disk_errors("the bundle's blocks"):
            os.pwrite(self._file, data, index * self._hashes.block_size)
        self._missing.discard(index)
        return True

    def content(self) -> bytes:
        """All of it, once nothing is missing."""
        return os.pread(self._file, self._hashes.length, 0)

    def close(self) -> None:
        """Lets go of the file, which stays."""
        os.close(self._file)

    def remove(self) -> None:
        """Lets go of the file and deletes it."""
        self.close()
        self._path.unlink(missing_ok=True)
