"""The states of a release, and its wire encodings. No IO."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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


def check_gates(evaluation: Mapping[str, Any], digest: str) -> None:
    """Raises StateError, naming what failed, for a bundle that misses the gates of its line.

    A bundle whose trainer asked nothing carries no gates, and is left to those who sign it.
    """
    gates = evaluation.get("gates")
    if gates is None or (isinstance(gates, Mapping) and gates.get("passed") is True):
        return
    checks = gates.get("checks", []) if isinstance(gates, Mapping) else []
    named = [f"{one.get('name')}: {one.get('why')}" for one in checks
             if isinstance(one, Mapping) and one.get("passed") is not True]  # fmt: skip
    raise StateError(
        f"release {digest[:12]} misses the gates of its line and cannot be released",
        found="; ".join(named) or "gates that did not pass",
        remedy="Train a better bundle, or change [gates] in the line's file and train again.",
    )


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
