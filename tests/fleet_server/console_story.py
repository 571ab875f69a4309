"""Everything that the console shows, made through the server's own services."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet_contract.archive import digest as archive_digest
from fleet_contract.archive import file_entries, pack
from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.names import UpdateState
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.custom import target_name
from fleet_contract.trust.keys import load_signer
from fleet_server.config import ServerConfig
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.drift import baselines
from fleet_server.drift import service as drift
from fleet_server.drift.playbook import Playbook
from fleet_server.labels import service as labels
from fleet_server.registry.service import put_line, set_champion, set_dataset
from fleet_server.releases import service as releases
from fleet_server.rollouts import service as rollouts
from fleet_server.rollouts.gates import Verdict
from fleet_server.runs import service as runs
from fleet_server.services import Services
from fleet_server.store import Store
from fleet_server.trust import setup as trust
from tests.fleet_contract import bundles
from tests.fleet_server.console_fleet import LINE, SPAN_S, Station
from tests.support.broker import Pki
from tests.support.recorder import Recorder

START_S = 1_763_600_000.0
PLAN = {
    "stages": [
        {"name": "shadow", "min_parts": 200, "min_devices": 2, "horizon_s": 600},
        {
            "name": "canary",
            "devices": ["station-1"],
            "share": 0.05,
            "min_parts": 40,
            "horizon_s": 600,
        },
        {"name": "canary", "devices": ["station-1"], "min_parts": 100, "horizon_s": 600},
        {"name": "all", "min_parts": 0},
    ]
}


SHADOW: dict[str, Any] = {
    "pairs": 240, "disagreements": 7, "rate_low": 0.012, "rate_high": 0.0602,
    "max_disagreement": 0.25, "faults": 0, "late": 1, "shed": 3, "challenger_right": 5,
    "champion_right": 1, "e_challenger_better": 1.524, "e_champion_better": 0.076,
    "devices": {"station-1": [130, 3], "station-2": [110, 4]},
}  # fmt: skip
CANARY: dict[str, Any] = {
    "guard_only": True, "rate_ratio": 1.25, "canary_parts": 60, "control_parts": 118,
    "canary": {"rejects": 15, "faults": 0, "late": 0, "no_decision": 1},
    "control": {"rejects": 28, "faults": 0, "late": 1, "no_decision": 1},
    "ln_e": {"rejects": -0.31, "faults": 0.0, "late": -0.02, "no_decision": 0.11},
    "ln_e_limit": 4.3820,
}  # fmt: skip
SHARE: dict[str, Any] = {
    "share": 0.05, "rate_ratio": 1.25, "canary_parts": 22, "control_parts": 431,
    "canary": {"rejects": 5, "fewer_rejects": 5, "faults": 0, "late": 0, "no_decision": 0},
    "control": {"rejects": 104, "fewer_rejects": 104, "faults": 0, "late": 1, "no_decision": 1},
    "pairs": 21, "only_candidate_rejects": 1, "only_active_rejects": 0, "shed": 1,
    "challenger_right": 5, "champion_right": 1,
    "ln_e": {"rejects": -0.21, "fewer_rejects": -0.35, "faults": 0.0, "late": -0.02,
             "no_decision": -0.02},
    "ln_e_limit": 4.6052,
}  # fmt: skip
"""Numbers in the form that the gates give them."""


def rate(count: int, trials: int) -> dict[str, float]:
    """A rate as evaluations carry it."""
    share = count / trials
    return {"count": count, "trials": trials, "rate": share,
            "low": max(0.0, share - 0.015), "high": share + 0.03}  # fmt: skip


def evaluation(auroc: float) -> dict[str, Any]:
    """A report in the trainer's form."""
    figures = {
        "image_auroc": auroc, "image_ap": auroc - 0.02, "pixel_ap": 0.71, "f1": 0.94,
        "threshold": 0.5123, "escape": rate(2, 60), "overkill": rate(3, 140),
        "slices": {"light": {"normal": auroc, "dim": auroc - 0.03}},
        "defects": {"scratch_fine": 0.9512, "dent": 0.9987, "stain": 0.9921},
        "worst_slice": {"slice": "defect", "value": "scratch_fine", "image_auroc": 0.9512},
        "latency_ms": {"p50": 8.2, "p99": 14.1}, "size_bytes": 623_000,
    }  # fmt: skip
    models = ("litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8")
    flips = {"onnx": rate(1, 200), "litert": rate(2, 200)}
    top = {"model": "onnx/int8", "images": 200, "parts": 200, **figures, "flips": flips}
    return {**top, "models": dict.fromkeys(models, figures)}


COMPARISON = {
    "outcome": "better",
    "why": "AUROC +0.031 (+0.012 to +0.049); 9 verdicts gained and 1 lost (p 0.021)",
    "images": 200,
    "parts": 200,
    "auroc": {"champion": 0.951, "challenger": 0.982, "difference": 0.031},
    "verdicts": {"challenger_right": 9, "champion_right": 1, "p_value": 0.021},
}


def archive(seed: int, parent: str | None = None) -> bytes:
    """A packed bundle of the line."""
    files = {**bundles.files(), "evaluation.json": json.dumps(evaluation(0.983)).encode()}
    manifest = bundles.manifest(
        line=LINE,
        created_s=START_S,
        files={name: entry.model_dump() for name, entry in file_entries(files).items()},
        lineage={
            "dataset": "d" * 64, "config": "c" * 64, "code": "0.1.0", "seed": seed,
            "parent": parent, "environment": {"torch": "2.13.0", "onnxruntime": "1.27.0"},
        },
    )  # fmt: skip
    return pack(manifest, files)


@dataclass
class Story:
    """Services over a folder of their own, and what happened there so far."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(START_S))
    stations: list[Station] = field(default_factory=list)

    def __post_init__(self) -> None:
        server = self.folder / "server"
        server.mkdir(parents=True)
        config = ServerConfig(folder=server)
        trust.create(server, clock=self.clock)
        database = Database(config.database_url)
        upgrade(database)
        self.services = Services(
            config=config,
            database=database,
            store=Store(server / "store"),
            publisher=Recorder(),
            trust=trust.open_repositories(server, clock=self.clock),
            clock=self.clock,
        )
        self.pki = Pki(self.folder / "pki")

    @property
    def now(self) -> float:
        """The server's time."""
        return self.clock.time()

    def sign(self, digest: str, key: str) -> None:
        """One signature with a key of the offline folder."""
        release = releases.to_sign(self.services, digest)
        pem = (self.services.config.folder / "offline" / f"{key}.pem").read_bytes()
        draft = (release.draft or "").encode()
        keyid, signature = sign_release(
            draft, target=target_name(LINE, digest), signer=load_signer(pem)
        )
        releases.sign(self.services, key, digest, keyid, signature)

    def submit(self, seed: int, *keys: str, parent: str | None = None, run: str = "") -> str:
        """A release with signatures of `keys`; its digest."""
        data = archive(seed, parent)
        releases.submit(self.services, "worker-1", data, run or None)
        for key in keys:
            self.sign(archive_digest(data), key)
        return archive_digest(data)

    def look(self) -> None:
        """The drift rules look at every window that came."""
        with self.services.database.write() as session:
            for _ in range(4):
                drift.tick(session, self.now, self.services.config.drift)

    def line(self) -> None:
        """The line with its first dataset."""
        blob = self.services.store.put(b"an image")
        assert blob == hashlib.sha256(b"an image").hexdigest()
        item = DatasetItem(sha256=blob, label="good", group="part 1", split="train")
        version = DatasetVersion(line=LINE, reason="import", channels=3, items=[item])
        with self.services.database.write() as session:
            policy = {"samples": 20, "min_labelled": 10}
            config = '[line]\nname = "watch-case"\n'
            put_line(session, self.now, "operator", LINE, training_config=config, policy=policy)
            row = labels.add_dataset(session, self.services.store, self.now, "operator", version)
            set_dataset(session, self.now, "operator", LINE, row.digest)

    def fleet(self, digest: str) -> None:
        """Three stations that inspect with the bundle; the first two have accepted baselines."""
        self.stations = [
            Station(f"station-{n}", self.services, self.pki, digest) for n in (1, 2, 3)
        ]
        self.clock.advance(30 * SPAN_S)
        for station in self.stations:
            station.online()
            station.report(UpdateState.COMMITTED)
            station.inspect(30)
        self.look()
        with self.services.database.write() as session:
            for baseline in baselines.list_baselines(session):
                if baseline.device != "station-3":
                    baselines.accept(session, self.now, "quality", baseline.id or 0)

    def drift(self) -> None:
        """The light of station-2 ages until an incident is open and its playbook has begun."""
        self.clock.advance(60 * SPAN_S)
        self.stations[0].inspect(60)
        self.stations[1].inspect(60, end_light=0.7)
        self.look()
        book = Playbook(self.services.config.drift, self.services.publisher, self.services.store)
        with self.services.database.write() as session:
            book.tick(session, self.now)

    def train(self, challenger: Callable[[str], str]) -> None:
        """One finished run, whose bundle `challenger` submits, and one under way."""
        config = self.services.config.runs
        with self.services.database.write() as session:
            done = runs.queue_run(
                session, self.now, "rule:playbook", LINE, kind="incident", text="incident 1, light",
                incident=1,
            )  # fmt: skip
            runs.lease(session, self.now, config, "worker-1")
        self.clock.advance(80)
        bundle = challenger(done.id)
        with self.services.database.write() as session:
            outcome = runs.Outcome(True, bundle, COMPARISON, evaluation(0.983), "")
            runs.finish(session, self.now, done.id, "worker-1", outcome)
            run = runs.queue_run(session, self.now, "operator", LINE)
            runs.lease(session, self.now, config, "worker-1")
            log = [f"epoch {n}: loss {0.7 / n:.4f}" for n in range(1, 13)]
            message = "epoch 12 of 30"
            runs.heartbeat(
                session,
                self.now,
                config,
                run.id,
                "worker-1",
                progress=0.42,
                message=message,
                log=log,
            )

    def roll_out(self, digest: str) -> None:
        """A rollout that passed shadow and is in its canary stage."""
        with self.services.database.write() as session:
            rollout = rollouts.start(session, self.now, "operator", digest, PLAN)
            waiting = "waiting: 120 of 200 parts"
            rollouts.decide(session, self.now, rollout, Verdict("hold", waiting, SHADOW))
            text = "they disagree on 7 of 240 parts, at most 6 % in truth"
            rollouts.promote(session, self.now, rollout, Verdict("promote", text, SHADOW))
            waiting = "waiting: 22 of 40 parts"
            rollouts.decide(session, self.now, rollout, Verdict("hold", waiting, SHARE))
        for station, state in zip(self.stations, ("canary", "shadow"), strict=False):
            for step in ("fetching", "verified", "staged", "self_test", state):
                station.step(UpdateState(step), digest)
            share = 0.05 if state == "canary" else None
            station.report(UpdateState(state), candidate=digest, share=share)

    def everything(self) -> None:
        """The whole of it."""
        self.line()
        champion = self.submit(1, "pipeline", "approver")
        self.fleet(champion)
        with self.services.database.write() as session:
            set_champion(session, self.now, "operator", LINE, champion)
        self.drift()
        self.train(lambda run: self.submit(2, "pipeline", "approver", parent=champion, run=run))
        with self.services.database.read() as session:
            challenger = releases.list_releases(session)[0].digest
        self.roll_out(challenger)
        self.submit(3, "pipeline", parent=champion)
        first, second, third = self.stations
        second.event(
            "refused", "the image repository's targets are signed by 1 of 2 needed keys", "error"
        )
        first.event("fault", "a frame came late: 812 ms, expected 250 ms", "warning")
        for part in range(4):
            first.sample(100 + part, "near_threshold")
        for part in range(6):
            second.sample(300 + part, "requested", incident=1)
        first.sample(200, "disagreement", candidate=challenger)
        for station in (first, second):
            station.beat()
        third.online(online=False)
        self.clock.advance(7)
