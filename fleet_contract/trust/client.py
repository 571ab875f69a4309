"""The device's verifier: two TUF repositories, refreshed by the reference client, then compared.

The rules, in their order: the director's metadata, then the image repository's (so that what the
director names is there already), each walked from the root that was shipped; versions and times
never below the durable floors (`floor`); then what both agree on (`agree`). Expiry is judged at
max(now, floor), where the floor moves only by verified signed times: a clock that stands in 1970
accepts nothing that had expired when the last metadata were signed, and a boot in 2099 poisons
nothing.
"""

from collections.abc import Callable
from pathlib import Path

from tuf.api.metadata import Targets, Timestamp

from fleet_contract.clock import Clock
from fleet_contract.trust.agree import Agreed, AssignmentError, DeviceFacts, agree
from fleet_contract.trust.custom import DIRECTOR, IMAGE, SIGNED_FIELD, TimestampFields
from fleet_contract.trust.floor import read_floors, write_floors
from fleet_contract.trust.updater import Fetch, NotThere, TrustedUpdater

__all__ = ["Agreed", "AssignmentError", "NotThere", "TrustClient"]


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
        floors = read_floors(self._folder).at_least(self._build_time_s)
        updater = TrustedUpdater(
            self._folder / repository,
            repository,
            self._roots[repository],
            self._fetch,
            floors=self._folder,
            now_s=max(self._clock.time(), floors.time_s),
        )
        updater.refresh()
        self._keep_time(updater.timestamp)
        return updater.targets

    def _keep_time(self, timestamp: Timestamp) -> None:
        fields = TimestampFields.of(timestamp.unrecognized_fields.get(SIGNED_FIELD))
        floors = read_floors(self._folder)
        later = floors.at_least(fields.issued_s)
        if later != floors:
            write_floors(self._folder, later)
