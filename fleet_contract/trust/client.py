"""The device's verifier: two TUF repositories, refreshed by the reference client, then compared.

The rules, in their order: the director's metadata, then the image repository's (so that what the
director names is there already), each walked from the root that was shipped; versions and times
never below the durable floors (`floor`); then what both agree on (`agree`). Expiry is judged at
max(now, floor), where the floor moves only by verified signed times: a clock that stands in 1970
accepts nothing that had expired when the last metadata were signed, and a boot in 2099 poisons
nothing.
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

from fleet_contract.clock import Clock
from fleet_contract.errors import LoupeError, TransferError, TrustError
from fleet_contract.trust.agree import Agreed, AssignmentError, DeviceFacts, agree
from fleet_contract.trust.custom import DIRECTOR, IMAGE, SIGNED_FIELD, TimestampFields
from fleet_contract.trust.floor import Floors, read_floors, write_floors

__all__ = ["Agreed", "AssignmentError", "NotThere", "TrustClient"]

_ROLES = (Root.type, Timestamp.type, Snapshot.type, Targets.type)
_CONFIG = UpdaterConfig(
    max_root_rotations=64,
    root_max_length=64_000,
    timestamp_max_length=16_000,
    snapshot_max_length=64_000,
    targets_max_length=4_000_000,
    prefix_targets_with_hash=False,
)


class NotThere(TransferError):  # noqa: N818 - an answer, not a fault
    """The server has no such file; how the walk along new roots ends."""


Fetch = Callable[[str], bytes]
"""`image/timestamp.json` -> its bytes. Raises NotThere, or TransferError for any other failure."""


class TrustClient:
    """One device's view of both repositories, kept in `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        image_root: bytes,
        director_root: bytes,
        device: str,
        hardware: str,
        clock: Clock,
        build_time_s: float,
        fetch: Fetch,
        epoch_floor: Callable[[str], int],
    ) -> None:
        """`image_root` and `director_root`: the first root.json of each, as shipped with the device.

        `build_time_s`: seconds since 1970 before which no honest clock stands. `epoch_floor`: line ->
        lowest epoch that the device still takes (0 where it has none).
        """
        self._folder = folder
        self._roots = {DIRECTOR: director_root, IMAGE: image_root}
        self._device = DeviceFacts(device, hardware, epoch_floor)
        self._clock, self._build_time_s = clock, build_time_s
        self._fetch = fetch

    def refresh(self) -> list[Agreed]:
        """Fetches what is new, verifies all of it, and says what this device is to run.

        Raises TrustError (AssignmentError where it is one assignment) with a reason for a person,
        or TransferError where the server cannot be reached. Nothing that was accepted before is lost.
        """
        director = self._refresh(DIRECTOR)
        image = self._refresh(IMAGE)
        return agree(director, image, self._device)

    def _refresh(self, repository: str) -> Targets:
        folder = self._folder / repository
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob("tmp*"):
            # A client that was killed while it wrote leaves its temporary file behind.
            left_over.unlink()
        floors = read_floors(self._folder).at_least(self._build_time_s)
        now_s = max(self._clock.time(), floors.time_s)
        try:
            updater = _Updater(folder, repository, self._roots[repository], self._fetch, now_s)
            try:
                updater.refresh()
            finally:
                floors = self._keep_floors(repository, updater, floors)
        except DownloadError as error:
            raise _transfer_error(repository, error) from error
        except RepositoryError as error:
            raise _trust_error(repository, error, now_s) from error
        self._keep_time(updater.timestamp, floors)
        return updater.targets

    def _keep_floors(self, repository: str, updater: "_Updater", floors: Floors) -> Floors:
        raised = floors
        for role, version, keys in updater.verified():
            raised.check(f"{repository}/{role}", version, keys)
            raised = raised.raised(f"{repository}/{role}", version, keys)
        if raised != floors:
            write_floors(self._folder, raised)
        return raised

    def _keep_time(self, timestamp: Timestamp, floors: Floors) -> None:
        fields = TimestampFields.of(timestamp.unrecognized_fields.get(SIGNED_FIELD))
        later = floors.at_least(fields.issued_s)
        if later != floors:
            write_floors(self._folder, later)


class _Updater(Updater):
    """The reference client with our transport and our time.

    `ngclient` has no argument for the time: it reads the clock when its trusted set is made. That
    set compares every expiry with its attribute `reference_time`; it is set here, and nowhere else.
    A test fails where a later release of the library stops to heed it.
    """

    def __init__(
        self, folder: Path, repository: str, root: bytes, fetch: Fetch, now_s: float
    ) -> None:
        super().__init__(
            str(folder), repository, fetcher=_Fetcher(fetch), config=_CONFIG, bootstrap=root
        )
        self._trusted_set.reference_time = datetime.fromtimestamp(now_s, UTC)

    @property
    def timestamp(self) -> Timestamp:
        return self._trusted_set.timestamp

    @property
    def targets(self) -> Targets:
        return self._trusted_set.targets

    def verified(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """Role, version and the key ids that may sign it, for each role verified so far."""
        root = self._trusted_set.root
        signed: dict[str, Signed] = {
            role: self._trusted_set[role] for role in _ROLES if role in self._trusted_set
        }
        return [
            # The root has no way out of its floor: its own keys may change from version to version.
            (role, s.version, () if role == Root.type else tuple(sorted(root.roles[role].keyids)))
            for role, s in signed.items()
        ]


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
