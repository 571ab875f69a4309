"""One TUF repository as a folder of files, published so that a crash leaves the old state or the new.

Files: `N.root.json`, `N.targets.json`, `N.snapshot.json` and `timestamp.json`. What is published is what
`timestamp.json` leads to; it is replaced last. Files of the next version that a crash left behind are
not led to by anything, and are written again.
"""

import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from fleet_contract.blocks import sha256
from fleet_contract.clock import Clock
from fleet_contract.errors import StateError
from fleet_contract.trust.custom import SIGNED_FIELD, TimestampFields
from fleet_server.trust.files import write_atomic

DAY_S = 86_400.0
_SERVED = re.compile(r"timestamp\.json|[1-9][0-9]{0,9}\.(root|snapshot|targets)\.json")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long each kind of metadata is good for, in seconds; online ones are renewed at half of it."""

    root_s: float = 3650 * DAY_S
    offline_targets_s: float = 365 * DAY_S
    online_targets_s: float = 30 * DAY_S
    snapshot_s: float = 30 * DAY_S
    timestamp_s: float = 7 * DAY_S

    def online_limits(self) -> dict[str, float]:
        """Role -> seconds left at which the server should long have renewed it."""
        return {
            Targets.type: self.online_targets_s / 4,
            Snapshot.type: self.snapshot_s / 4,
            Timestamp.type: self.timestamp_s / 4,
        }


@dataclass(frozen=True, slots=True)
class Published:
    """What `timestamp.json` leads to."""

    timestamp: Timestamp
    snapshot: Snapshot
    targets: Metadata[Targets]
    targets_bytes: bytes


class Repository:
    """Targets, snapshot and timestamp below `folder`; snapshot and timestamp signed by `online`."""

    def __init__(
        self, folder: Path, *, root_folder: Path, online: Signer, clock: Clock,
        lifetimes: Lifetimes,
    ) -> None:  # fmt: skip
        self.folder, self._root_folder = folder, root_folder
        self._online, self._clock, self._lifetimes = online, clock, lifetimes
        self.lock = threading.RLock()

    def serve(self, name: str) -> bytes | None:
        """The bytes of file `name`, or None where there is none (or nothing that is served)."""
        if not _SERVED.fullmatch(name):
            return None
        folder = self._root_folder if name.endswith(".root.json") else self.folder
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            return None

    @property
    def exists(self) -> bool:
        """Whether anything was ever published."""
        return (self.folder / "timestamp.json").exists()

    def root(self) -> Root:
        """The newest root. Raises StateError where there is none."""
        return Metadata[Root].from_bytes(newest_root(self._root_folder)).signed

    def check_online(self) -> None:
        """Raises StateError where the newest root names other keys than the one that signs here."""
        check_online(self.root(), self._online)

    def published(self) -> Published:
        """The state that devices see. Raises StateError where files are missing or damaged."""
        try:
            timestamp = Metadata[Timestamp].from_bytes(
                (self.folder / "timestamp.json").read_bytes()
            )
            version = timestamp.signed.snapshot_meta.version
            snapshot = Metadata[Snapshot].from_bytes(
                (self.folder / f"{version}.snapshot.json").read_bytes()
            )
            version = snapshot.signed.meta["targets.json"].version
            data = (self.folder / f"{version}.targets.json").read_bytes()
            targets = Metadata[Targets].from_bytes(data)
        except (OSError, RepositoryError) as error:
            raise StateError(
                f"the repository in {self.folder} is damaged: {error}",
                remedy="Restore it from your backup.",
            ) from error
        return Published(timestamp.signed, snapshot.signed, targets, data)

    def publish_targets(self, targets: Metadata[Targets]) -> None:
        """Publishes signed `targets`: file, snapshot, and last the timestamp.

        Raises tuf's UnsignedMetadataError where the signatures are too few.
        """
        self.root().verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
        data = targets.to_bytes()
        with self.lock:
            before = self.published() if self.exists else None
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / f"{targets.signed.version}.targets.json", data)
            snapshot = Snapshot(
                version=before.snapshot.version + 1 if before else 1,
                expires=self.expires(self._lifetimes.snapshot_s),
                meta={"targets.json": _meta(targets.signed.version, data)},
            )
            self._publish_snapshot(snapshot, before.timestamp.version + 1 if before else 1)

    def _publish_snapshot(self, snapshot: Snapshot, timestamp_version: int) -> None:
        signed = Metadata(snapshot)
        signed.sign(self._online)
        data = signed.to_bytes()
        write_atomic(self.folder / f"{snapshot.version}.snapshot.json", data)
        self._publish_timestamp(_meta(snapshot.version, data), timestamp_version)

    def _publish_timestamp(self, meta: MetaFile, version: int) -> None:
        fields = TimestampFields(issued_s=int(self._clock.time()))
        signed = Metadata(
            Timestamp(
                version=version,
                expires=self.expires(self._lifetimes.timestamp_s),
                snapshot_meta=meta,
                unrecognized_fields={SIGNED_FIELD: fields.model_dump()},
            )
        )
        signed.sign(self._online)
        write_atomic(self.folder / "timestamp.json", signed.to_bytes())

    def renew(self) -> bool:
        """Signs snapshot and timestamp again where half of their time is over; says whether it did."""
        with self.lock:
            now = self.published()
            if self.half_over(now.snapshot.expires, self._lifetimes.snapshot_s):
                self.sign_again()
                return True
            if self.half_over(now.timestamp.expires, self._lifetimes.timestamp_s):
                self._publish_timestamp(now.timestamp.snapshot_meta, now.timestamp.version + 1)
                return True
        return False

    def sign_again(self) -> None:
        """New versions of snapshot and timestamp over the same targets, signed by the key of now."""
        with self.lock:
            now = self.published()
            now.snapshot.version += 1
            now.snapshot.expires = self.expires(self._lifetimes.snapshot_s)
            self._publish_snapshot(now.snapshot, now.timestamp.version + 1)

    def expires(self, lifetime_s: float) -> datetime:
        """`lifetime_s` from now, in whole seconds, UTC."""
        return datetime.fromtimestamp(int(self._clock.time() + lifetime_s), UTC)

    def half_over(self, expires: datetime, lifetime_s: float) -> bool:
        """Whether less than half of a lifetime is left."""
        return expires.timestamp() - self._clock.time() < lifetime_s / 2


def newest_root(folder: Path) -> bytes:
    """The newest root metadata in `folder`. Raises StateError where there are none."""
    versions = [int(path.name.split(".")[0]) for path in folder.glob("*.root.json")]
    if not versions:
        raise StateError(f"{folder} holds no root metadata", remedy="Run `loupe-server init`.")
    return (folder / f"{max(versions)}.root.json").read_bytes()


def check_online(root: Root, online: Signer) -> None:
    """Raises StateError where `root` does not name the key that signs timestamps on this server."""
    if online.public_key.keyid not in root.roles[Timestamp.type].keyids:
        raise StateError(
            "the newest root names another online key than the server has",
            expected=", ".join(keyid[:12] for keyid in root.roles[Timestamp.type].keyids),
            found=online.public_key.keyid[:12],
            remedy="New keys were not brought in to the end: run `loupe-server keys publish` again.",
        )


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, length=len(data), hashes={"sha256": sha256(data)})
