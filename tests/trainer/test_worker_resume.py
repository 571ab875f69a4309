"""A run outlives its worker, and a loser never becomes a release: a real server, builds made up."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet_contract import archive
from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_server.config import LimitsConfig
from fleet_server.registry.service import set_champion
from fleet_server.releases import service as releases
from fleet_server.runs.checkpoints import room
from fleet_server.runs.result import sentence
from tests.support.imports import ROOT
from tests.support.telemetry import png
from tests.support.tiny_bundle import TinySpec, tiny_bundle
from tests.support.wait import eventually
from tests.trainer import lost_worker
from tests.trainer.site import PATIENCE_S, Hands, Site, serve_site
from trainer.build import Built
from trainer.data.store import Store
from trainer.training import StoppedError
from trainer.worker import Work

LINE = "watch-case"
CONFIG = f'[line]\nname = "{LINE}"\n'
CLOCK = ManualClock()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose time stands still, with one small dataset."""
    with serve_site(tmp_path_factory.mktemp("server"), CLOCK, "30s") as made:
        store, items = Store(tmp_path_factory.mktemp("store")), []
        for seed, side in ((1, "train"), (2, "holdout")):
            fields = {"label": "good", "group": f"p{seed}", "split": side}
            items.append(DatasetItem.model_validate({"sha256": store.put(png(seed)), **fields}))
        made.fill(store, DatasetVersion(line=LINE, reason="test", channels=3, items=items))
        yield made


@pytest.fixture
def hands() -> Iterator[Hands]:
    """Whatever a test leaves running is ended with it."""
    made = Hands()
    yield made
    made.end()


@pytest.fixture
def lost(site: Site, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker's process that trains without end."""
    key = tmp_path / "pipeline.pem"
    key.write_bytes(site.key)
    command = [sys.executable, "-m", "tests.trainer.lost_worker", site.address, str(key)]
    process = subprocess.Popen([*command, str(tmp_path / "lost")], cwd=ROOT)
    yield process
    process.kill()
    process.wait()


def built(name: str, comparison: dict[str, Any] | None = None) -> Built:
    """A finished bundle."""
    _, data = tiny_bundle(TinySpec(line=LINE, name=name))
    return Built(data, archive.read(data)[0], {"image_auroc": 0.9}, comparison or {})


class Maker:
    """A build that notes the checkpoint it began with, and ends at once."""

    def __init__(self, result: Built) -> None:
        self.found: list[bytes | None] = []
        self._result = result

    def __call__(self, work: Work) -> Built:
        file = work.checkpoint
        self.found.append(file.read_bytes() if file.exists() else None)
        return self._result


def test_a_killed_workers_run_is_gone_on_with_by_another(
    site: Site, hands: Hands, lost: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    run_id = site.queue(LINE, CONFIG)
    eventually(lambda: site.run(run_id).checkpoint, PATIENCE_S, "a checkpoint is with the server")
    lost.kill()
    lost.wait()
    CLOCK.advance(31)
    maker = Maker(built("resumed"))
    hands.start(site, tmp_path / "next", name="next", make=maker).join()
    run = site.run(run_id)
    assert (run.state, run.worker, run.attempts, run.error) == ("succeeded", "next", 2, "")
    assert maker.found == [lost_worker.LEFT]
    assert run.bundle == built("resumed").digest
    assert "worker next goes on from the last checkpoint" in site.log(run_id)


def test_a_worker_that_ends_leaves_its_last_state(site: Site, hands: Hands, tmp_path: Path) -> None:
    states, run_id = iter(range(1000)), site.queue(LINE, CONFIG)
    told = threading.Event()

    def train(work: Work) -> Built:
        while not work.watch(0.2, "training"):
            work.checkpoint.write_bytes(f"step {next(states)}".encode())
            told.wait(0.01)
        work.checkpoint.write_bytes(b"the last")
        raise StoppedError("told to stop")

    hand = hands.start(site, tmp_path, once=False, make=train)
    eventually(lambda: site.run(run_id).checkpoint, PATIENCE_S, "a checkpoint is with the server")
    hand.end()
    maker = Maker(built("second"))
    hands.start(site, tmp_path, name="next", make=maker).join()
    assert maker.found == [b"the last"]
    assert site.run(run_id).attempts == 1


def test_every_member_of_an_ensemble_is_gone_on_with(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    run_id, found = site.queue(LINE, CONFIG), dict[str, bytes]()

    def train(work: Work) -> Built:
        for name in ("checkpoint.partial", "checkpoint", "checkpoint.1"):
            work.checkpoint.with_name(name).write_bytes(name.encode())
        while not work.watch(0.2, "training member 2 of 2"):
            threading.Event().wait(0.01)
        raise StoppedError("told to stop")

    def go_on(work: Work) -> Built:
        found.update({path.name: path.read_bytes() for path in work.checkpoint.parent.iterdir()})
        return built("members")

    hand = hands.start(site, tmp_path, once=False, make=train)
    eventually(lambda: site.run(run_id).checkpoint, PATIENCE_S, "a checkpoint is with the server")
    hand.end()
    hands.start(site, tmp_path, name="next", make=go_on).join()
    assert found == {"checkpoint": b"checkpoint", "checkpoint.1": b"checkpoint.1"}


def test_a_checkpoint_that_is_gone_means_the_start(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    run_id = site.queue(LINE, CONFIG)

    def leave(work: Work) -> Built:
        work.checkpoint.write_bytes(b"to be lost")
        while not work.watch(0.2, "training"):
            threading.Event().wait(0.01)
        raise StoppedError("told to stop")

    hand = hands.start(site, tmp_path, once=False, make=leave)
    eventually(lambda: site.run(run_id).checkpoint, PATIENCE_S, "a checkpoint is with the server")
    hand.end()
    room(site.services.store).discard(site.run(run_id).checkpoint or "")
    maker = Maker(built("third"))
    hands.start(site, tmp_path, name="next", make=maker).join()
    assert (maker.found, site.run(run_id).state) == ([None], "succeeded")


def test_a_checkpoint_above_the_servers_limit_is_said_and_the_run_goes_on(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    limit = site.services.config.limits.checkpoint
    assert limit == LimitsConfig().checkpoint == 64_000_000
    run_id = site.queue(LINE, CONFIG)

    def train(work: Work) -> Built:
        with work.checkpoint.open("wb") as file:
            file.truncate(limit + 1)
        eventually(
            lambda: work.watch(0.5, "training") or _refused(site.log(run_id)), PATIENCE_S, "refused"
        )
        return built("large")

    hands.start(site, tmp_path, make=train).join()
    assert (site.run(run_id).state, site.run(run_id).error) == ("succeeded", "")


def _refused(log: list[str]) -> bool:
    return any("no checkpoint is left with the server" in text for text in log)


def test_a_bundle_that_misses_its_gates_is_there_to_look_at_and_not_signed(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    run_id = site.queue(LINE, CONFIG)
    check = {"name": "min_auroc", "limit": 0.95, "value": 0.9, "passed": False, "why": "0.900"}
    report = {"image_auroc": 0.9, "gates": {"passed": False, "checks": [check]}}
    made = replace(built("below"), evaluation=report)
    hands.start(site, tmp_path, make=Maker(made)).join()
    run, release = site.run(run_id), site.release(made.digest)
    assert (run.state, run.bundle, run.metrics) == ("failed", made.digest, report)
    assert run.error == "the bundle misses the gates of its line: min_auroc: 0.900"
    assert (release.run, release.signed_by) == (run_id, [])


def test_a_worse_challenger_is_no_release_and_its_figures_are_kept(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    champion = built("champion")
    releases.submit(site.services, "test", champion.archive)
    with site.services.database.write() as session:
        set_champion(session, 1.0, "test", LINE, champion.digest)
    before, run_id = site.releases(), site.queue(LINE, CONFIG)
    comparison = {
        "outcome": "worse", "why": "AUROC -0.080 (-0.120 to -0.040)", "images": 40, "parts": 20,
        "auroc": {"difference": -0.08, "low": -0.12, "high": -0.04},
    }  # fmt: skip
    loser = built("loser", comparison)
    hand = hands.start(site, tmp_path, make=Maker(loser))
    hand.join()
    run = site.run(run_id)
    assert site.releases() == before
    assert loser.digest not in before
    assert (run.state, run.bundle, run.comparison) == ("failed", None, comparison)
    assert run.metrics == loser.evaluation
    assert "the challenger is worse" in run.error
    assert sentence(run) == (
        f"Worse than the champion {champion.digest[:12]}, and no release: AUROC -0.080 (-0.120 to "
        f"-0.040), on the holdout of dataset {run.dataset[:12]} (40 images of 20 parts)."
    )
    assert (hand.worker.done, hand.worker.failed) == (0, 1)
