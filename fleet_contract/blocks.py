"""Bytes in blocks: cut, hashed, and known to be right or wrong one by one.

A wire encoding's signed metadata holds the digest of its block hashes (32 bytes each, one after
the other), so that a forged block is known at once and not when all of them are there.
"""

import hashlib
from dataclasses import dataclass

import zstandard

from fleet_contract.errors import TransferError

HASH_BYTES = 32


def sha256(data: bytes) -> str:
    """Lower-case hex digest, 64 characters."""
    return hashlib.sha256(data).hexdigest()


def block_count(length: int, block_size: int) -> int:
    """How many blocks `length` bytes make."""
    return -(-length // block_size)


def block(data: bytes, index: int, block_size: int) -> bytes:
    """Block `index` of `data`, counted from 0; the last one may be shorter."""
    return data[index * block_size : (index + 1) * block_size]


def hash_list(data: bytes, block_size: int) -> bytes:
    """SHA-256 of every block, one after the other: 32 bytes a block."""
    count = block_count(len(data), block_size)
    return b"".join(
        hashlib.sha256(block(data, index, block_size)).digest() for index in range(count)
    )


@dataclass(frozen=True, slots=True)
class BlockHashes:
    """The hashes of an encoding's blocks, checked against their signed digest."""

    hashes: bytes
    length: int
    block_size: int

    @classmethod
    def verified(cls, hashes: bytes, *, digest: str, length: int, block_size: int) -> "BlockHashes":
        """Raises TransferError where `hashes` are not those that were signed."""
        expected = block_count(length, block_size) * HASH_BYTES
        if len(hashes) != expected or sha256(hashes) != digest:
            raise TransferError(
                "the list of block hashes is not the signed one",
                expected=f"{expected} bytes with digest {digest[:12]}",
                found=f"{len(hashes)} bytes with digest {sha256(hashes)[:12]}",
            )
        return cls(hashes, length, block_size)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return block_count(self.length, self.block_size)

    def size(self, index: int) -> int:
        """Length of block `index` in bytes."""
        return min(self.block_size, self.length - index * self.block_size)

    def right(self, index: int, data: bytes) -> bool:
        """Whether `data` is block `index`, bit for bit."""
        if not 0 <= index < self.count or len(data) != self.size(index):
            return False
        start = index * HASH_BYTES
        return hashlib.sha256(data).digest() == self.hashes[start : start + HASH_BYTES]


def compress(data: bytes) -> bytes:
    """Zstandard, one frame, with its content size."""
    # Level 15 takes six times as long for a bundle that is 0.7 % smaller.
    return zstandard.ZstdCompressor(level=9).compress(data)


def decompress(data: bytes, length: int) -> bytes:
    """The `length` bytes in a zstandard frame; output is capped there, whatever the frame says.

    Raises TransferError for a broken frame, or one of another length.
    """
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(data)
        out = reader.read(length + 1)
    except zstandard.ZstdError as error:
        raise TransferError("compressed bytes are broken", found=str(error)) from error
    if len(out) != length:
        raise TransferError(
            "compressed bytes have another length",
            expected=f"{length} bytes",
            found=f"{'more' if len(out) > length else len(out)}",
        )
    return out
