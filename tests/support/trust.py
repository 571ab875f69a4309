"""Both real repositories in a folder, and real clients of them: what trust is tested with."""

from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp

from fleet_contract.blocks import sha256
from fleet_contract.clock import ManualClock
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.client import NotThere, TrustClient
from fleet_contract.trust.custom import Assignment, Encoding, ImageCustom, target_name
from fleet_contract.trust.keys import load_signer
from fleet_server.trust import setup
from fleet_server.trust.director import Assigned
from fleet_server.trust.files import read_key

START_S = 1_760_000_000.0


def image_custom(line: str = "watch-case", *, epoch: int = 1, hardware: str = "*") -> ImageCustom:
    """What the image repository says of a bundle, with one encoding of no use."""
    encoding = Encoding(
        kind="zstd", digest="0" * 64, length=10, block_size=1024, hashes_digest="1" * 64
    )
    return ImageCustom(line=line, epoch=epoch, hardware=[hardware], encodings=[encoding])


class TrustBench:
    """A server's two repositories below `folder`, and the keys that are offline elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(START_S)
        setup.create(folder / "server", clock=self.clock)
        self.repositories = setup.open_repositories(folder / "server", clock=self.clock)
        self.fetched: list[str] = []
        self.substitutes: dict[str, bytes] = {}
        """Path -> bytes that an attacker on the way hands out instead."""

    def key(self, name: str) -> bytes:
        """An offline key in PEM."""
        return (self.folder / "server" / "offline" / name).read_bytes()

    def online_key(self, repository: str) -> CryptoSigner:
        """The server's own key of `image` or `director`: what a thief of the server has."""
        return read_key(self.folder / "server" / "trust" / "keys" / f"{repository}-online.pem")

    def publish(self, content: bytes, custom: ImageCustom | None = None) -> str:
        """A bundle with `content`, signed by both keys; returns its digest."""
        digest, custom = sha256(content), custom or image_custom()
        image = self.repositories.image
        draft = image.draft(digest, len(content), custom)
        for name in (setup.PIPELINE, setup.APPROVER):
            keyid, signature = sign_release(
                draft, target=target_name(custom.line, digest), signer=load_signer(self.key(name))
            )
            draft = image.add_signature(draft, keyid, signature)
        image.publish(draft)
        return digest

    def assign(self, device: str, digest: str, length: int, **changes: object) -> int:
        """Assigns one bundle, for line watch-case in slot active unless `changes` say otherwise."""
        fields = {"line": "watch-case", "slot": "active", "rollout": "1", "attempt": 1, **changes}
        entry = Assigned(digest, length, Assignment.model_validate(fields))
        return self.repositories.director.assign(device, [entry])

    def client(
        self,
        device: str = "station-1",
        *,
        clock: ManualClock | None = None,
        epoch_floor: int = 0,
        hardware: str = "x86-64-box",
        build_time_s: float = START_S - 86_400,
    ) -> TrustClient:
        """The client of `device`; two of one device share their folder."""
        image_root, director_root = setup.newest_roots(self.folder / "server")
        return TrustClient(
            self.folder / device,
            image_root=image_root,
            director_root=director_root,
            device=device,
            hardware=hardware,
            clock=clock or self.clock,
            build_time_s=build_time_s,
            fetch=lambda path: self._fetch(device, path),
            epoch_floor=lambda _line: epoch_floor,
        )

    def _fetch(self, device: str, path: str) -> bytes:
        self.fetched.append(path)
        if path in self.substitutes:
            return self.substitutes[path]
        data = self.repositories.serve(device, path)
        if data is None:
            raise NotThere(f"the server has no {path}")
        return data


def forge(folder: Path, online: CryptoSigner, targets: Metadata[Targets], *, version: int) -> None:
    """Publishes `targets` past all checks, with snapshot and timestamp `version` signed by `online`."""
    data = targets.to_bytes()
    (folder / f"{targets.signed.version}.targets.json").write_bytes(data)
    timestamp = Metadata[Timestamp].from_file(str(folder / "timestamp.json"))
    snapshot = Metadata(
        Snapshot(
            version,
            expires=timestamp.signed.expires,
            meta={"targets.json": _meta(targets.signed.version, data)},
        )
    )
    snapshot.sign(online)
    (folder / f"{version}.snapshot.json").write_bytes(snapshot.to_bytes())
    timestamp.signed.version = version
    timestamp.signed.snapshot_meta = _meta(version, snapshot.to_bytes())
    timestamp.sign(online)
    timestamp.to_file(str(folder / "timestamp.json"))


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, length=len(data), hashes={"sha256": sha256(data)})
