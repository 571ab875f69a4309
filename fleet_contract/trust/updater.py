"""One TUF repository, refreshed by the reference client through our transport, judged by our time.

`TrustClient` puts two of them together; the conformance suite drives one alone.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Root, Signed, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from fleet_contract.errors import LoupeError, TransferError, TrustError
from fleet_contract.trust.floor import Floors, read_floors, write_floors

_ROLES = (Root.type, Timestamp.type, Snapshot.type, Targets.type)
_FLOOR_KEYS: dict[str, tuple[str, ...]] = {
    Root.type: (),
    Timestamp.type: (Timestamp.type,),
    Snapshot.type: (Snapshot.type, Timestamp.type),
    Targets.type: (Targets.type, Snapshot.type),
}
"""Role -> roles whose new keys lift its floor: those that vouch for its version (TUF 5.3.11).
The root has no way out: its own keys may change from version to version."""
CONFIG = UpdaterConfig(
    max_root_rotations=256,
    root_max_length=64_000,
    timestamp_max_length=16_000,
    snapshot_max_length=64_000,
    targets_max_length=4_000_000,
    prefix_targets_with_hash=False,
)
"""Lengths in bytes. Rotations are counted from the root that was shipped, so that they bound how
many there may be in a device's life."""


class NotThere(TransferError):  # noqa: N818 - an answer, not a fault
    """The server has no such file; how the walk along new roots ends."""


Fetch = Callable[[str], bytes]
"""`image/timestamp.json` -> its bytes. Raises NotThere, or TransferError for any other failure."""


class TrustedUpdater(Updater):
    """The reference client with our transport, our time and our floors.

    `ngclient` has no argument for the time: it reads the clock when its trusted set is made. That
    set compares every expiry with its attribute `reference_time`; it is set here, and nowhere else.
    A test fails where a later release of the library stops to heed it.
    """

    def __init__(
        self,
        folder: Path,
        base: str,
        root: bytes,
        fetch: Fetch,
        *,
        floors: Path,
        now_s: float,
        config: UpdaterConfig = CONFIG,
    ) -> None:
        """Metadata are kept in `folder` and fetched as `{base}/NAME`; `base` also names the floors.

        `root`: the first root.json that is trusted. `floors`: the folder of the durable floors.
        `now_s`: seconds since 1970 by which expiry is judged. Raises TrustError for a bad `root`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob("tmp*"):
            # A client that was killed while it wrote leaves its temporary file behind.
            left_over.unlink()
        self._repository, self._floors, self._now_s = base, floors, now_s
        try:
            super().__init__(
                str(folder), base, fetcher=_Fetcher(fetch), config=config, bootstrap=root
            )
        except RepositoryError as error:
            raise _trust_error(base, error, now_s) from error
        self._trusted_set.reference_time = datetime.fromtimestamp(now_s, UTC)

    @property
    def timestamp(self) -> Timestamp:
        """The verified timestamp; there once `refresh` has returned."""
        return self._trusted_set.timestamp

    @property
    def targets(self) -> Targets:
        """The verified top-level targets; there once `refresh` has returned."""
        return self._trusted_set.targets

    def refresh(self) -> None:
        """As the reference client's, and never below the floors, which rise by what was verified.

        Raises TrustError with a reason for a person, or TransferError.
        """
        try:
            try:
                super().refresh()
            finally:
                self._keep_floors()
        except DownloadError as error:
            raise _transfer_error(self._repository, error) from error
        except RepositoryError as error:
            raise _trust_error(self._repository, error, self._now_s) from error

    def _keep_floors(self) -> None:
        before = read_floors(self._floors)
        raised = self._raised(before)
        if raised != before:
            write_floors(self._floors, raised)

    def _raised(self, floors: Floors) -> Floors:
        for name, version, keys in self._verified():
            role = f"{self._repository}/{name}"
            floors.check(role, version, keys)
            floors = floors.raised(role, version, keys)
        return floors

    def _verified(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """Role, version and the key ids that its floor stands on, for each role verified so far."""
        signed: dict[str, Signed] = {
            role: self._trusted_set[role] for role in _ROLES if role in self._trusted_set
        }
        return [(role, s.version, self._floor_keys(role)) for role, s in signed.items()]

    def _floor_keys(self, role: str) -> tuple[str, ...]:
        roles = self._trusted_set.root.roles
        keys = {key for name in _FLOOR_KEYS[role] for key in roles[name].keyids}
        return tuple(sorted(keys))


class _Fetcher(FetcherInterface):
    """Hands the client's requests to `fetch`."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch_bytes = fetch

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter([self._fetch_bytes(url)])
        except NotThere as error:
            raise DownloadHTTPError(str(error), 404) from error


def _transfer_error(repository: str, error: DownloadError) -> LoupeError:
    if isinstance(error, DownloadLengthMismatchError):
        return TrustError(f"the {repository} repository sent more bytes than it may: {error}")
    if isinstance(error.__cause__, LoupeError):
        return error.__cause__
    return TransferError(f"metadata of the {repository} repository did not arrive: {error}")


def _trust_error(repository: str, error: RepositoryError, now_s: float) -> TrustError:
    where = f"the {repository} repository"
    if isinstance(error, UnsignedMetadataError):
        match = re.search(r"(\w+) was signed by (\d+)/(\d+) keys", str(error))
        role, have, need = match.groups() if match else ("metadata", "too few", "the")
        return TrustError(
            f"{where}'s {role} are signed by {have} of {need} needed keys",
            remedy="Nothing was changed; ask who published it.",
        )
    if isinstance(error, ExpiredMetadataError):
        at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
        return TrustError(
            f"{where}'s metadata have expired: {error} (judged at {at})",
            remedy="Check that the server runs and renews them, and the device's clock.",
        )
    if isinstance(error, BadVersionNumberError):
        match = re.search(r"New (\w+) version (\d+) must be >= (\d+)", str(error))
        detail = f"{match[1]} version {match[2]} after {match[3]}" if match else str(error)
        return TrustError(
            f"older metadata was offered by {where}: {detail}",
            remedy="A replay, or the server was restored from an old backup.",
        )
    if isinstance(error, LengthOrHashMismatchError):
        return TrustError(f"{where}'s files do not belong together: {error}")
    return TrustError(f"{where}'s metadata are not valid: {error}")
