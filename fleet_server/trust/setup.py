"""Makes both repositories, their keys and roots; and opens them for the running server.

DIR/trust/image/       the image repository's files
DIR/trust/director/    the director's root, and one folder a device
DIR/trust/keys/        online keys: snapshot and timestamp, and all of the director's roles
DIR/offline/           root keys (2 of 3 sign), pipeline.pem and approver.pem: move these away
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fleet_contract.clock import Clock, SystemClock
from fleet_contract.trust.custom import DIRECTOR, IMAGE, IMAGE_THRESHOLD
from fleet_server.trust.director import DirectorRepository
from fleet_server.trust.files import ensure_key, read_key, write_atomic
from fleet_server.trust.image import ImageRepository
from fleet_server.trust.repository import Lifetimes, newest_root

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
T = TypeVar("T", Root, Targets)
PIPELINE, APPROVER = "pipeline.pem", "approver.pem"


@dataclass(frozen=True, slots=True)
class TrustRepositories:
    """Both repositories, opened with the online keys."""

    image: ImageRepository
    director: DirectorRepository

    def check(self) -> None:
        """Raises StateError where files are damaged, or new keys were not brought in to the end."""
        self.image.published()
        self.image.check_online()
        self.director.check_online()

    def serve(self, device: str, path: str) -> bytes | None:
        """The metadata file `image/NAME` or `director/NAME` for `device`; None where there is none."""
        repository, _, name = path.partition("/")
        if repository == IMAGE:
            return self.image.serve(name)
        return self.director.serve(device, name) if repository == DIRECTOR else None


def create(
    folder: Path,
    *,
    clock: Clock | None = None,
    lifetimes: Lifetimes | None = None,
    passphrase: bytes | None = None,
) -> None:
    """Makes what the server's `folder` (DIR) lacks of the above; what is there stays as it is.

    `passphrase` encrypts the offline keys; the online ones are read by a server that starts alone.
    """
    clock, lifetimes = clock or SystemClock(), lifetimes or Lifetimes()
    trust, offline = folder / "trust", folder / "offline"
    roots = [ensure_key(offline / f"root-{n}.pem", passphrase) for n in range(1, ROOT_KEYS + 1)]
    approvers = [ensure_key(offline / name, passphrase) for name in (PIPELINE, APPROVER)]
    online_image = ensure_key(online_key(folder, IMAGE))
    online_director = ensure_key(online_key(folder, DIRECTOR))
    opened = open_repositories(folder, clock=clock, lifetimes=lifetimes)
    expires = opened.image.expires(lifetimes.root_s)
    _make_root(
        trust / IMAGE, Root(1, expires=expires), roots, approvers, online_image, IMAGE_THRESHOLD
    )
    _make_root(
        trust / DIRECTOR, Root(1, expires=expires), roots, [online_director], online_director, 1
    )
    if not opened.image.exists:
        targets = Targets(1, expires=opened.image.expires(lifetimes.offline_targets_s))
        opened.image.publish_targets(_signed(Metadata(targets), approvers))


def open_repositories(
    folder: Path,
    *,
    clock: Clock | None = None,
    lifetimes: Lifetimes | None = None,
    keys: Mapping[str, Path] | None = None,
) -> TrustRepositories:
    """Both repositories of the server's `folder`. Raises ResourceError where keys are missing.

    `keys`: repository -> the online key's file, where it is not yet in its place.
    """
    clock, lifetimes = clock or SystemClock(), lifetimes or Lifetimes()
    image, director = (
        read_key((keys or {}).get(name, online_key(folder, name))) for name in (IMAGE, DIRECTOR)
    )
    trust = folder / "trust"
    return TrustRepositories(
        ImageRepository(
            trust / IMAGE,
            root_folder=trust / IMAGE,
            online=image,
            clock=clock,
            lifetimes=lifetimes,
        ),
        DirectorRepository(trust / DIRECTOR, online=director, clock=clock, lifetimes=lifetimes),
    )


def online_key(folder: Path, repository: str) -> Path:
    """Where the server's own key of a repository lies below its `folder`."""
    return folder / "trust" / "keys" / f"{repository}-online.pem"


def newest_roots(folder: Path) -> tuple[bytes, bytes]:
    """The newest root.json of image and director repository: what a device is shipped with.

    Not the first: keys that were stolen since must not vouch for a new device. Raises StateError.
    """
    trust = folder / "trust"
    return newest_root(trust / IMAGE), newest_root(trust / DIRECTOR)


def _make_root(
    folder: Path,
    root: Root,
    roots: list[CryptoSigner],
    targets: list[CryptoSigner],
    online: CryptoSigner,
    threshold: int,
) -> None:
    path = folder / "1.root.json"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for role, signers in {
        Root.type: roots,
        Targets.type: targets,
        Snapshot.type: [online],
        Timestamp.type: [online],
    }.items():
        for signer in signers:
            root.add_key(signer.public_key, role)
    root.roles[Root.type].threshold = ROOT_THRESHOLD
    root.roles[Targets.type].threshold = threshold
    write_atomic(path, _signed(Metadata(root), roots).to_bytes())


def _signed(metadata: Metadata[T], signers: list[CryptoSigner]) -> Metadata[T]:
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata
