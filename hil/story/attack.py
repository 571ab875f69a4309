"""What an attacker does who owns the server: its disk and its online keys, but not the approver's key.

The image repository is written past the server, by the server's own key for snapshot and timestamp.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from fleet_contract.blocks import sha256
from fleet_contract.trust.custom import ImageCustom, target_name
from fleet_contract.trust.keys import load_signer
from hil.story.settings import LINE

_EVIL = b"a bundle that nobody approved"
_LIFETIME = timedelta(days=30)


class ImageFiles:
    """The image repository's files below `server`, read and replaced as bytes on a disk."""

    def __init__(self, server: Path) -> None:
        self._folder = server / "trust" / "image"
        self._online = _key(server / "trust" / "keys" / "image-online.pem")

    def targets(self) -> Metadata[Targets]:
        """The published list."""
        snapshot = self._snapshot()
        version = snapshot.signed.meta["targets.json"].version
        return Metadata[Targets].from_bytes((self._folder / f"{version}.targets.json").read_bytes())

    def _timestamp(self) -> Metadata[Timestamp]:
        return Metadata[Timestamp].from_bytes((self._folder / "timestamp.json").read_bytes())

    def _snapshot(self) -> Metadata[Snapshot]:
        version = self._timestamp().signed.snapshot_meta.version
        path = self._folder / f"{version}.snapshot.json"
        return Metadata[Snapshot].from_bytes(path.read_bytes())

    def write(self, targets: Metadata[Targets]) -> None:
        """Publishes `targets`, however they are signed, under a new snapshot and timestamp."""
        snapshot, timestamp = self._snapshot(), self._timestamp()
        data = targets.to_bytes()
        self._put(f"{targets.signed.version}.targets.json", data)
        snapshot.signed.version += 1
        snapshot.signed.meta["targets.json"] = _meta(targets.signed.version, data)
        signed = self._signed(snapshot)
        self._put(f"{snapshot.signed.version}.snapshot.json", signed)
        timestamp.signed.version += 1
        timestamp.signed.snapshot_meta = _meta(snapshot.signed.version, signed)
        self._put("timestamp.json", self._signed(timestamp))

    def _signed(self, metadata: Metadata[Snapshot] | Metadata[Timestamp]) -> bytes:
        metadata.signed.expires = datetime.now(UTC).replace(microsecond=0) + _LIFETIME
        metadata.sign(self._online)
        return metadata.to_bytes()

    def _put(self, name: str, data: bytes) -> None:
        partial = self._folder / f"{name}.new"
        partial.write_bytes(data)
        os.replace(partial, self._folder / name)  # noqa: PTH105


def publish_with_one_signature(server: Path, offline: Path) -> Metadata[Targets]:
    """Lists a bundle with the pipeline's signature alone; returns the list that was good before."""
    files = ImageFiles(server)
    good, forged = files.targets(), files.targets()
    known = next(iter(good.signed.targets.values()))
    digest = sha256(_EVIL)
    name = target_name(LINE, digest)
    forged.signed.version += 1
    custom = ImageCustom.of(known.custom).model_dump(mode="json")
    forged.signed.targets[name] = TargetFile(
        len(_EVIL), {"sha256": digest}, name, {"custom": custom}
    )
    forged.sign(_key(offline / "pipeline.pem"))
    files.write(forged)
    return good


def recover(server: Path, offline: Path, good: Metadata[Targets]) -> None:
    """The holders of both keys sign the good list again, above the forged one's version."""
    files = ImageFiles(server)
    good.signed.version = files.targets().signed.version + 1
    good.sign(_key(offline / "pipeline.pem"))
    good.sign(_key(offline / "approver.pem"), append=True)
    files.write(good)


def flip_byte(path: Path) -> int:
    """Flips the lowest bit of the byte in the middle of a file; returns its position."""
    position = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))
    return position


def _key(path: Path) -> CryptoSigner:
    return load_signer(path.read_bytes())


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, length=len(data), hashes={"sha256": sha256(data)})
