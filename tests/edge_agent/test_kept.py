"""Quotas of kept images hold over restarts, other settings and a clock that was wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.batch import Batch, BatchStore, Picture
from edge_agent.config import SamplesConfig
from edge_agent.db import Database
from edge_agent.sampling import SamplePolicy, Why
from edge_agent.source.base import Progress
from edge_agent.spool import Spool, Stamp
from fleet_contract.clock import ManualClock
from fleet_contract.messages import PartVerdict
from fleet_contract.names import Verdict
from tests.support.tiny_bundle import solid

HOUR_S = 3600.0


class Device:
    """A station's samples: chosen, stored, and chosen again after a restart."""

    def __init__(self, path: Path, config: SamplesConfig) -> None:
        self._path, self._config, self.clock = path, config, ManualClock()
        self._part = 0
        self.start()

    def start(self) -> None:
        """The agent starts on what is durable."""
        self._db = Database(self._path)
        spool = Spool(self._db, 10**8, lambda: Stamp("boot", 0.0, 0.0, True))
        self._store = BatchStore(self._db, spool, line="line", camera="cam-1")
        self.policy = SamplePolicy(self._config, "seed", self._store.kept(self.clock))

    def restart(self, *, after_s: float = 1.0) -> None:
        """Ends and starts again, as after a boot: monotonic time begins anew."""
        self.stop()
        self.clock = ManualClock(self.clock.time() + after_s, 5.0)
        self.start()

    def stop(self) -> None:
        """Lets go of the database."""
        self._db.close()

    def keeps(self, *, requested: bool = False) -> bool:
        """Whether a rejected part's image is kept; it is stored if so."""
        self._part += 1
        why = self.policy.choose(
            self._part, Verdict.REJECT, 0.9, threshold=0.5, near_margin=0.0,
            requested=requested, now_s=self.clock.monotonic(),
        )  # fmt: skip
        if why is not None:
            self._keep(why)
        return why is not None

    def _keep(self, why: Why) -> None:
        verdict = PartVerdict(
            number=self._part, verdict=Verdict.REJECT, latency_ms=1, time_s=self.clock.time()
        )
        picture = Picture(why, solid(100), "cam-1", verdict)
        self._store.store(Batch([verdict], [], [picture], 0, Progress()))


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    config = SamplesConfig(audit_share=0, rejects_per_hour=4, per_day=6)
    made = Device(tmp_path / "agent.db", config)
    yield made
    made.stop()


def test_a_restarted_agent_has_no_new_quota_of_the_hour(device: Device) -> None:
    assert [device.keeps() for _ in range(5)] == [True] * 4 + [False]
    device.restart()
    assert not device.keeps()
    device.restart(after_s=HOUR_S / 4)
    assert device.keeps()
    assert not device.keeps()


def test_a_restarted_agent_has_no_new_quota_of_the_day(device: Device) -> None:
    for _ in range(4):
        device.keeps()
    device.clock.advance(2 * HOUR_S)
    assert [device.keeps() for _ in range(3)] == [True, True, False]
    device.restart(after_s=3 * HOUR_S)
    assert not device.keeps()
    device.restart(after_s=19.5 * HOUR_S)
    assert [device.keeps() for _ in range(5)] == [True] * 4 + [False], (
        "the first four are a day old"
    )


def test_what_the_server_asks_for_is_in_no_quota(device: Device) -> None:
    for _ in range(6):
        device.keeps()
    assert device.keeps(requested=True)
    device.restart()
    device.clock.advance(HOUR_S)
    assert [device.keeps() for _ in range(3)] == [True, True, False]


def test_what_was_kept_under_a_clock_that_was_ahead_counts_for_a_day_and_no_longer(
    device: Device,
) -> None:
    device.clock.set_wrong(70 * 365 * 24 * HOUR_S)
    for _ in range(4):
        device.keeps()
    device.clock.set_wrong(-70 * 365 * 24 * HOUR_S)
    device.restart(after_s=2 * HOUR_S)
    assert not device.keeps(), "they count as of now"
    device.clock.advance(HOUR_S)
    assert [device.keeps() for _ in range(3)] == [True, True, False]
    device.restart(after_s=24 * HOUR_S)
    assert device.keeps()


def test_other_settings_count_what_was_kept_before(device: Device) -> None:
    for _ in range(4):
        device.keeps()
    config = SamplesConfig(audit_share=0, rejects_per_hour=10, per_day=5)
    device.policy = device.policy.by(config)
    assert [device.keeps() for _ in range(2)] == [True, False]
