"""Which metadata expire soon and are not renewed by the server itself. Rules alone; no IO but reading.

The server renews snapshot, timestamp and the director's lists at half of their time (`renew`). One of
those with less than a quarter left means that renewing fails. Roots and the image repository's
targets are signed offline: a person is told `warn_s` before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tuf.api.metadata import Root, Signed, Snapshot, Targets, Timestamp

from fleet_contract.errors import StateError
from fleet_contract.trust.custom import DIRECTOR, IMAGE
from fleet_server.trust.repository import Lifetimes, Published
from fleet_server.trust.setup import TrustRepositories


@dataclass(frozen=True, slots=True)
class Expiring:
    """Metadata whose time is nearly over, or is over."""

    repository: str
    role: str
    device: str
    """Whose, in the director's repository; '' for what all devices share."""
    version: int
    expires_s: float
    """Seconds since 1970."""
    offline: bool
    """Whether it takes a person's keys."""

    def text(self, now_s: float) -> str:
        """One sentence for a person, with what to do."""
        of = f" of {self.device}" if self.device else ""
        day = datetime.fromtimestamp(self.expires_s, UTC).date().isoformat()
        when = "expire" if self.expires_s > now_s else "have expired"
        remedy = (
            "sign them for longer: `loupe-server keys draft`"
            if self.offline
            else "the server should have renewed them: look into its log"
        )
        return f"the {self.repository} repository's {self.role}{of} {when} on {day}; {remedy}"


def expiring(
    trust: TrustRepositories,
    devices: Iterable[str],
    now_s: float,
    warn_s: float,
    lifetimes: Lifetimes,
) -> list[Expiring]:
    """What of both repositories expires soon, the soonest first; `devices`: the registered ones.

    A repository that is damaged is left out: it is told of where it is used.
    """
    online = lifetimes.online_limits()
    image = trust.image.published()
    found = [
        _entry(IMAGE, trust.image.root(), offline=True),
        _entry(DIRECTOR, trust.director.root(), offline=True),
        _entry(IMAGE, image.targets.signed, offline=True),
        *_online(IMAGE, "", image),
    ]
    for device in devices:
        found += _of_device(trust, device)
    return sorted(
        (
            one
            for one in found
            if one.expires_s - now_s < (warn_s if one.offline else online[one.role])
        ),
        key=lambda one: one.expires_s,
    )


def _of_device(trust: TrustRepositories, device: str) -> list[Expiring]:
    try:
        if not trust.director.version(device):
            return []
        state = trust.director.published(device)
    except StateError:
        return []
    targets = _entry(DIRECTOR, state.targets.signed, offline=False, device=device)
    return [targets, *_online(DIRECTOR, device, state)]


def _online(repository: str, device: str, state: Published) -> Iterator[Expiring]:
    signed: Snapshot | Timestamp
    for signed in (state.snapshot, state.timestamp):
        yield _entry(repository, signed, offline=False, device=device)


def _entry(
    repository: str,
    signed: Root | Targets | Snapshot | Timestamp,
    *,
    offline: bool,
    device: str = "",
) -> Expiring:
    metadata: Signed = signed
    return Expiring(
        repository, metadata.type, device, metadata.version, metadata.expires.timestamp(), offline
    )
