"""A server's release side without its processes: real database, store and repositories, a clock to turn.

Devices are rows; what they would report is written as ingest would write it.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from fleet_contract.archive import digest as archive_digest
from fleet_contract.archive import file_entries, pack
from fleet_contract.clock import ManualClock
from fleet_contract.histogram import Histogram
from fleet_contract.messages import DeviceState, LineState, SlotState, UpdateStep
from fleet_contract.names import UpdateState
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.keys import load_signer
from fleet_contract.windows import Arm, ShadowCounts, Window
from fleet_server.config import ServerConfig
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.labels.models import Sample
from fleet_server.registry.models import Device, Line
from fleet_server.releases import service as releases
from fleet_server.releases.models import Release
from fleet_server.rollouts import service as rollouts
from fleet_server.rollouts.models import Rollout
from fleet_server.services import Services
from fleet_server.store import Store
from fleet_server.telemetry.models import EventRow, WindowRow
from fleet_server.trust import setup
from tests.fleet_contract.bundles import files, manifest

LINE = "test-line"
START_S = 1_760_000_000.0


@dataclass
class Recorder:
    """A publisher that keeps what it was given."""

    sent: list[tuple[str, dict[str, str | int], bytes]] = field(default_factory=list)
    connected: bool = True

    def publish(self, name: str, levels: dict[str, str | int], payload: bytes) -> None:
        self.sent.append((name, levels, payload))

    def of(self, name: str) -> list[tuple[dict[str, str | int], bytes]]:
        """Levels and payloads on topic row `name`, in order."""
        return [(levels, payload) for topic, levels, payload in self.sent if topic == name]


def archive(
    seed: int = 1, padding: int = 0, evaluation: Mapping[str, object] = MappingProxyType({})
) -> bytes:
    """A bundle for LINE; another seed, another digest; `padding` bytes that do not compress."""
    lineage = {"dataset": "d" * 64, "config": "c" * 64, "code": "0", "seed": seed}
    content = {**files(), "padding.bin": random.Random(seed).randbytes(padding),
               "evaluation.json": json.dumps(dict(evaluation)).encode()}  # fmt: skip
    listed = {name: entry.model_dump() for name, entry in file_entries(content).items()}
    return pack(manifest(line=LINE, lineage=lineage, files=listed), content)


def make_services(folder: Path, clock: ManualClock, recorder: Recorder) -> Services:
    """Services over `folder`, opened again where they were made before."""
    setup.create(folder, clock=clock)
    config = ServerConfig(folder=folder)
    database = Database(config.database_url)
    upgrade(database)
    return Services(
        config=config,
        database=database,
        store=Store(folder / "store"),
        publisher=recorder,
        trust=setup.open_repositories(folder, clock=clock),
        clock=clock,
    )


def sign(services: Services, digest: str, key_pem: bytes) -> Release:
    """Signs a release as `loupe release approve` does."""
    release = releases.to_sign(services, digest)
    keyid, signature = sign_release(
        (release.draft or "").encode(),
        target=releases.target_of(release),
        signer=load_signer(key_pem),
        previous=services.trust.image.targets_bytes(),
    )
    return releases.sign(services, "test", digest, keyid, signature)


class Deploy:
    """The bench: a line, devices, releases, and reports of devices."""

    def __init__(self, folder: Path, devices: tuple[str, ...] = ("a", "b", "c")) -> None:
        self.folder, self.devices = folder, devices
        self.clock, self.recorder = ManualClock(START_S), Recorder()
        self.services = make_services(folder, self.clock, self.recorder)
        with self.services.database.write() as session:
            session.add(Line(name=LINE))
            for name in devices:
                session.add(
                    Device(name=name, certificate_pem="", line=LINE, online=True, last_seen=START_S)
                )
        self._numbers = 0

    def reopen(self) -> None:
        """As a new process would: nothing but the folder is left."""
        self.services.database.close()
        self.services = make_services(self.folder, self.clock, self.recorder)

    def key(self, name: str) -> bytes:
        """An offline key in PEM."""
        return (self.folder / "offline" / name).read_bytes()

    def sign(self, digest: str, key: str) -> Release:
        """Signs as `loupe release approve` does."""
        return sign(self.services, digest, self.key(key))

    def approved(self, seed: int = 1, padding: int = 0) -> str:
        """A release with both signatures; its digest."""
        data = archive(seed, padding)
        releases.submit(self.services, "test", data)
        for key in (setup.PIPELINE, setup.APPROVER):
            self.sign(archive_digest(data), key)
        return archive_digest(data)

    def champion(self, digest: str) -> None:
        """Makes an approved release the line's champion, without a rollout."""
        with self.services.database.write() as session:
            line = session.get_one(Line, LINE)
            line.champion = digest
            session.add(line)

    def start(self, digest: str, plan: object = None, *, wait: bool = False) -> int:
        """Starts a rollout; its number."""
        now = self.clock.time()
        with self.services.database.write() as session:
            return rollouts.start(session, now, "test", digest, plan, wait=wait).id or 0

    def rollout(self, number: int) -> Rollout:
        """The rollout as it is now."""
        with self.services.database.read() as session:
            return rollouts.find_rollout(session, number)

    def heard(self, *devices: str) -> None:
        """A heartbeat of these devices, or of all."""
        with self.services.database.write() as session:
            for name in devices or self.devices:
                device = session.get_one(Device, name)
                device.last_seen = self.clock.time()
                session.add(device)

    def report(
        self,
        number: int,
        device: str,
        state: str,
        *,
        failure: str = "",
        reason: str = "",
        share: float | None = None,
    ) -> None:
        """An update event of `device` about rollout `number`."""
        rollout = self.rollout(number)
        step = UpdateStep(
            state=UpdateState(state),
            digest=rollout.digest,
            rollout=str(number),
            attempt=rollout.attempt,
            slot="active" if share is None else "canary",
            share=share,
            failure=failure,
            reason=reason,
        )
        self.event(device, "update", rollout.digest, reason, step.model_dump(mode="json"))

    def event(
        self, device: str, kind: str, digest: str, text: str, data: dict[str, object]
    ) -> None:
        """Any event of `device`."""
        self._numbers += 1
        now = self.clock.time()
        with self.services.database.write() as session:
            session.add(
                EventRow(
                    device=device, spool_id="s", number=self._numbers, kind=kind, severity="info",
                    line=LINE, digest=digest, text=text, data=data, time_s=now, received_at=now,
                )
            )  # fmt: skip

    def runs(self, device: str, digest: str) -> None:
        """The device's state says that `digest` is its active bundle."""
        slot = SlotState(digest=digest, attempt=1, since_s=0.0)
        state = DeviceState(
            device=device, counter=1, boot_id="b", spool_id="s", agent_version="1",
            hardware="x", runtime="onnx/int8", time_s=0.0,
            lines={LINE: LineState(active=slot, inspecting=True)},
        )  # fmt: skip
        with self.services.database.write() as session:
            row = session.get_one(Device, device)
            row.state = state.model_dump(mode="json")
            session.add(row)

    def window(
        self,
        device: str,
        digest: str | None,
        parts: int,
        rejects: int,
        *,
        candidate: str | None = None,
        disagreements: int = 0,
        faults: int = 0,
        shared: tuple[int, int] = (0, 0),
    ) -> None:
        """A statistics window that has just come in; `shared`: parts and rejects of the candidate's
        own share, each of them a pair with the active bundle's word. Without `digest` no bundle is
        active, and pairs are with those who judge today."""
        empty = Histogram.of("score/1", [0.5]).to_message()
        pairs = shared[0] or parts
        shadow = ShadowCounts(
            candidate=candidate, judge=digest is None, unpaired=0 if digest else 2,
            pairs=pairs, both_accept=pairs - disagreements,
            only_candidate_rejects=disagreements, faults=faults, score_difference=empty,
            latency_ms=empty,
        ) if candidate else None  # fmt: skip
        now = self.clock.time()
        arms = {digest: Arm(parts=parts, rejects=rejects)} if digest else {}
        if candidate and shared[0]:
            arms[candidate] = Arm(parts=shared[0], rejects=shared[1], faults=faults)
        body = Window(
            line=LINE, camera="c", digest=digest, start_s=now - 2, end_s=now, sampled_frames=0,
            features={}, thumbnail=[], score=empty, latency_ms=empty,
            arms=arms, shadow=shadow,
        )  # fmt: skip
        self._numbers += 1
        with self.services.database.write() as session:
            session.add(
                WindowRow(
                    device=device, spool_id="s", number=self._numbers, line=LINE, camera="c",
                    digest=digest, candidate=candidate, start_s=now - 2, end_s=now,
                    received_at=now, body=body.model_dump(mode="json"),
                )
            )  # fmt: skip

    def reviewed(self, champion: str, challenger: str, *, challenger_right: int) -> None:
        """Labelled disagreements, all of them in favour of the challenger."""
        with self.services.database.write() as session:
            for number in range(challenger_right):
                session.add(
                    Sample(
                        sample_id=f"s{number}", device="a", spool_id="s", line=LINE, camera="c",
                        part=number, why="disagreement", verdict="accept", digest=champion,
                        candidate_digest=challenger, candidate_verdict="reject", blob="0" * 64,
                        length=1, time_s=0.0, received_at=0.0, label="defect",
                    )
                )  # fmt: skip
