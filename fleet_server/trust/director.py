"""The director repository: which device runs which bundle in which slot; signed online, per device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleet_contract.clock import Clock
from fleet_contract.errors import ContractError
from fleet_contract.names import is_device
from fleet_contract.trust.custom import SIGNED_FIELD, Assignment, DirectorFields, target_name
from fleet_server.trust.repository import (
    Lifetimes,
    Published,
    Repository,
    check_online,
    newest_root,
)


@dataclass(frozen=True, slots=True)
class Assigned:
    """One bundle for one device."""

    digest: str
    length: int
    """Bytes of the uncompressed archive."""
    assignment: Assignment


class DirectorRepository:
    """One small repository a device below `folder`; they share the root."""

    def __init__(self, folder: Path, *, online: Signer, clock: Clock, lifetimes: Lifetimes) -> None:
        self._folder, self._online = folder, online
        self._clock, self._lifetimes = clock, lifetimes
        self._devices: dict[str, Repository] = {}
        self._cache: dict[str, tuple[int, tuple[Assigned, ...]]] = {}

    def _of(self, device: str) -> Repository:
        if not is_device(device):
            raise ContractError(f"{device!r} is no device's name")
        return self._devices.setdefault(
            device,
            Repository(
                self._folder / device,
                root_folder=self._folder,
                online=self._online,
                clock=self._clock,
                lifetimes=self._lifetimes,
            ),
        )

    def serve(self, device: str, name: str) -> bytes | None:
        """File `name` for `device`; a device without assignments gets an empty list."""
        repository = self._of(device)
        with repository.lock:
            # Under the lock: the first assignment may be published at this very moment.
            if not repository.exists:
                self._publish(device, 1, ())
        return repository.serve(name)

    def root(self) -> Root:
        """The newest root, which all devices share. Raises StateError where there is none."""
        return Metadata[Root].from_bytes(newest_root(self._folder)).signed

    def check_online(self) -> None:
        """Raises StateError where the newest root names other keys than the one that signs here."""
        check_online(self.root(), self._online)

    def devices(self) -> list[str]:
        """Devices that have a list, sorted."""
        return sorted(path.parent.name for path in self._folder.glob("*/timestamp.json"))

    def published(self, device: str) -> Published:
        """What `device` sees. Raises StateError where files are missing or damaged."""
        return self._of(device).published()

    def sign_again(self, device: str) -> None:
        """A new version of all that `device` sees, with the same assignments, by the key of now."""
        with self._of(device).lock:
            version, entries = self._state(device)
            self._publish(device, version + 1, entries)

    def version(self, device: str) -> int:
        """Version of the device's published list; 0 where there is none."""
        return self._state(device)[0]

    def assigned(self, device: str) -> tuple[Assigned, ...]:
        """What is published for `device`, by line."""
        return self._state(device)[1]

    def _state(self, device: str) -> tuple[int, tuple[Assigned, ...]]:
        if device not in self._cache:
            repository = self._of(device)
            if not repository.exists:
                return 0, ()
            targets = repository.published().targets.signed
            self._cache[device] = (targets.version, _assigned(targets))
        return self._cache[device]

    def assign(self, device: str, entries: Sequence[Assigned]) -> int:
        """Publishes `entries` as all that `device` is assigned, unless that is so already.

        Returns the version of the device's list.
        """
        wanted = tuple(sorted(entries, key=lambda entry: entry.assignment.line))
        repository = self._of(device)
        with repository.lock:
            version, now = self._state(device)
            if version and now == wanted:
                return version
            return self._publish(device, version + 1, wanted)

    def _publish(self, device: str, version: int, entries: tuple[Assigned, ...]) -> int:
        repository = self._of(device)
        with repository.lock:
            signed = Metadata(
                Targets(
                    version=version,
                    expires=repository.expires(self._lifetimes.online_targets_s),
                    targets={file.path: file for file in map(_target, entries)},
                    unrecognized_fields={SIGNED_FIELD: DirectorFields(device=device).model_dump()},
                )
            )
            signed.sign(self._online)
            repository.publish_targets(signed)
            self._cache[device] = (version, entries)
        return version

    def renew(self, device: str) -> bool:
        """Signs again what of `device` has lived half of its time; says whether it did."""
        repository = self._of(device)
        if not repository.exists:
            return False
        with repository.lock:
            expires = repository.published().targets.signed.expires
            if repository.half_over(expires, self._lifetimes.online_targets_s):
                version, entries = self._state(device)
                self._publish(device, version + 1, entries)
                return True
            return repository.renew()


def _target(entry: Assigned) -> TargetFile:
    name = target_name(entry.assignment.line, entry.digest)
    custom = entry.assignment.model_dump(mode="json", exclude_none=True)
    return TargetFile(entry.length, {"sha256": entry.digest}, name, {"custom": custom})


def _assigned(targets: Targets) -> tuple[Assigned, ...]:
    entries = [
        Assigned(file.hashes["sha256"], file.length, Assignment.of(file.custom))
        for file in targets.targets.values()
    ]
    return tuple(sorted(entries, key=lambda entry: entry.assignment.line))
