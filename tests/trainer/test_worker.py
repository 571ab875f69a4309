"""The worker against a real server: HTTP, database, store and trust repositories."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_contract.archive import read
from fleet_contract.clock import SystemClock
from fleet_contract.errors import DataError, TransferError
from fleet_server.registry.service import set_champion
from fleet_server.releases import service as releases
from fleet_server.runs import service as runs
from tests.support.wait import eventually
from tests.trainer.conftest import CONFIG, LINE, World
from tests.trainer.site import PATIENCE_S, Hands, Site, serve_site
from trainer.api import Api, AwayError, patiently
from trainer.data.remote import fetch_version
from trainer.data.store import Store, objects_of

ENDLESS = CONFIG.replace("epochs = 30", "epochs = 1000000").replace('"60s"', '"1h"')
UNTRAINED = CONFIG.replace("epochs = 30", "epochs = 1\nwarm_start = false")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Site]:
    """A server with the data set of `world`, and its bundle as champion."""
    with serve_site(tmp_path_factory.mktemp("server"), SystemClock(), "2s") as made:
        made.fill(world.store, world.version)
        releases.submit(made.services, "test", world.built.archive)
        with made.services.database.write() as session:
            set_champion(session, 1.0, "test", LINE, world.built.digest)
        yield made


@pytest.fixture
def hands() -> Iterator[Hands]:
    """Whatever a test leaves running is ended with it."""
    made = Hands()
    yield made
    made.end()


def test_a_run_becomes_a_release_that_the_pipeline_has_signed(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    run_id = site.queue(LINE, CONFIG.replace("epochs = 30", "epochs = 8\nseed = 5"))
    hand = hands.start(site, tmp_path, once=True)
    hand.join()
    run = site.run(run_id)
    assert (run.state, run.error) == ("succeeded", "")
    assert run.bundle is not None
    assert run.comparison["outcome"] in ("better", "not_worse", "undecided")
    assert run.metrics["image_auroc"] > 0.9
    release = site.release(run.bundle)
    assert (release.run, len(release.signed_by), release.state) == (run_id, 1, "awaiting_approval")
    manifest, _ = read(site.services.store.path(run.bundle).read_bytes())
    assert manifest.lineage.run == run_id
    assert manifest.lineage.parent == run.champion


def test_a_run_that_fails_says_why_and_the_worker_goes_on(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    broken = site.queue(LINE, '[line]\nname = "discs"\n[train]\ntime_budget = 3\n')
    hand = hands.start(site, tmp_path, once=False)
    eventually(lambda: site.run(broken).state == "failed", PATIENCE_S, "the first run fails")
    untrained = site.queue(LINE, UNTRAINED)
    eventually(lambda: site.run(untrained).state == "failed", PATIENCE_S, "the second run fails")
    hand.end()
    assert "train.time_budget" in site.run(broken).error
    assert "golden" in site.run(untrained).error
    assert hand.worker.failed == 2


def test_a_cancelled_run_stops(site: Site, hands: Hands, tmp_path: Path) -> None:
    run_id = site.queue(LINE, ENDLESS)
    hand = hands.start(site, tmp_path, once=True)
    eventually(lambda: site.run(run_id).message.startswith("training"), PATIENCE_S, "it trains")
    with site.services.database.write() as session:
        runs.cancel(session, 1.0, "test", run_id)
    hand.join()
    assert site.run(run_id).state == "cancelled"


def test_a_run_whose_lease_is_lost_is_dropped(site: Site, hands: Hands, tmp_path: Path) -> None:
    run_id = site.queue(LINE, ENDLESS)
    hand = hands.start(site, tmp_path, once=True)
    eventually(lambda: site.run(run_id).message.startswith("training"), PATIENCE_S, "it trains")
    with site.services.database.write() as session:
        run = runs.find_run(session, run_id)
        run.worker = "hand-2"
        session.add(run)
    hand.join()
    assert (site.run(run_id).state, site.run(run_id).worker) == ("leased", "hand-2")
    with site.services.database.write() as session:
        runs.finish(session, 2.0, run_id, "hand-2", runs.Outcome(False, None, {}, {}, "enough"))


def test_a_worker_that_is_told_to_stop_gives_its_run_back(
    site: Site, hands: Hands, tmp_path: Path
) -> None:
    run_id = site.queue(LINE, ENDLESS)
    hand = hands.start(site, tmp_path, once=False)
    eventually(lambda: site.run(run_id).message.startswith("training"), PATIENCE_S, "it trains")
    hand.end()
    run = site.run(run_id)
    assert (run.state, run.worker, run.attempts) == ("queued", None, 0)
    assert (hand.worker.given_back, hand.worker.failed) == (1, 0)
    with site.services.database.write() as session:
        runs.cancel(session, 2.0, "test", run_id)


def test_a_server_that_is_away_is_waited_for() -> None:
    api, asked = Api("http://127.0.0.1:9"), list[float]()

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        return False

    with pytest.raises(AwayError, match="does not answer"):
        patiently(lambda: api.lease("hand-1"), wait, tries=4)
    assert asked == [1.0, 2.0, 4.0]


def test_a_refusal_is_told_with_the_servers_reason(site: Site) -> None:
    with pytest.raises(TransferError, match="no release"):
        Api(site.address).bundle("0" * 64)


def test_only_what_is_missing_is_downloaded(site: Site, world: World, tmp_path: Path) -> None:
    store, ticks = Store(tmp_path), list[int]()

    def tick(_done: int, total: int) -> bool:
        ticks.append(total)
        return False

    known = objects_of(world.version.items[0])
    for name in known:
        store.put(world.store.get(name))
    wanted = {name for item in world.version.items for name in objects_of(item)}
    version = fetch_version(Api(site.address), store, world.version.digest(), tick)
    assert version == world.version
    assert ticks == [len(wanted) - len(known)] * len(ticks)
    assert len(ticks) == len(wanted) - len(known)


class _Liar:
    """A server that sends other bytes than asked for."""

    def __init__(self, world: World) -> None:
        self._world = world

    def dataset(self, digest: str) -> bytes:
        """The right version."""
        assert digest == self._world.version.digest()
        return self._world.version.canonical()

    def blob(self, sha256: str) -> bytes:
        """The wrong bytes."""
        return f"not {sha256}".encode()


def test_other_bytes_than_asked_for_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="other bytes than asked for"):
        fetch_version(_Liar(world), Store(tmp_path), world.version.digest(), lambda _d, _t: False)
    with pytest.raises(DataError, match="no dataset"):
        Store(tmp_path).version(world.version.digest())
