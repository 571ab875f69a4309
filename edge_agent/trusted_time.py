"""The device's clock, held against times that are certain: a board without a battery begins in 1970.

The floor is the later of the version's build and the last signed time that was verified. It moves by
signed times only: a boot in 2099 leaves nothing behind.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fleet_contract.clock import Clock
from fleet_contract.errors import ConfigError, TrustError
from fleet_contract.trust.floor import read_floors

log = logging.getLogger(__name__)

SLACK_S = 300.0
"""How far a device's clock may lie behind the server's without being called wrong."""


class TrustedTime:
    """A clock whose wall time never lies before the floor. Thread-safe."""

    def __init__(
        self, clock: Clock, trust_folder: Path, build_time_s: float, certificate: Path
    ) -> None:
        """`certificate`: the device's own, which no honest clock outlives. Raises ConfigError."""
        self._clock, self._folder = clock, trust_folder
        self._floor_s, self._end_s = build_time_s, _end_s(certificate)
        self.look()

    def look(self) -> None:
        """Takes over what was verified meanwhile; what cannot be read changes nothing."""
        try:
            self._floor_s = max(self._floor_s, read_floors(self._folder).time_s)
        except TrustError as error:
            log.warning("the last verified time is not known: %s", error)

    def time(self) -> float:
        """Seconds since 1970, as far as they can be trusted."""
        return max(self._clock.time(), self._floor_s)

    def monotonic(self) -> float:
        """The machine's own."""
        return self._clock.monotonic()

    @property
    def trouble(self) -> str:
        """What is certainly wrong with the machine's clock; '' where it may be right."""
        return clock_trouble(self._clock.time(), self._floor_s, self._end_s)


def clock_trouble(now_s: float, floor_s: float, end_s: float) -> str:
    """'' for a time between the floor (less SLACK_S) and the end of the device's certificate."""
    if now_s < floor_s - SLACK_S:
        return f"the clock stands at {_day(now_s)}, and {_day(floor_s)} has certainly been"
    if now_s > end_s:
        return f"the clock stands at {_day(now_s)}, after this device's certificate ({_day(end_s)})"
    return ""


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _end_s(path: Path) -> float:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError) as error:
        raise ConfigError(f"link.cert: {path} cannot be read: {error}") from error
