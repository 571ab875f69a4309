"""The states of a release, and its wire encodings. No IO."""

from dataclasses import dataclass
from enum import StrEnum

from fleet_contract.blocks import compress, hash_list, sha256
from fleet_contract.errors import StateError
from fleet_contract.trust.custom import Encoding

BLOCK_SIZE = 64 * 1024
"""Bytes of a block on the wire: small enough that one lost costs little, large enough for few."""


class ReleaseState(StrEnum):
    """How far a release's approval is."""

    BUILT = "built"
    """Submitted; nobody has signed."""
    AWAITING_APPROVAL = "awaiting_approval"
    """Some keys have signed, too few."""
    APPROVED = "approved"
    """Published in the image repository. Final."""
    REFUSED = "refused"
    """A person said no. Final."""


OPEN = frozenset({ReleaseState.BUILT, ReleaseState.AWAITING_APPROVAL})


def check_open(state: str, digest: str) -> None:
    """Raises StateError where a release takes no more signatures."""
    if state not in OPEN:
        raise StateError(f"release {digest[:12]} is {state} already")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A wire encoding: what is signed of it, its bytes, and its list of block hashes."""

    encoding: Encoding
    data: bytes
    hashes: bytes


def encode(archive: bytes) -> Encoded:
    """The archive in one zstandard frame, in blocks of 64 KiB."""
    data = compress(archive)
    hashes = hash_list(data, BLOCK_SIZE)
    encoding = Encoding(
        kind="zstd",
        digest=sha256(data),
        length=len(data),
        block_size=BLOCK_SIZE,
        hashes_digest=sha256(hashes),
    )
    return Encoded(encoding, data, hashes)
