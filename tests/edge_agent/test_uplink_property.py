"""Whatever the order of records, acks, outages and restarts: all arrives, and nothing after its ack."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet_contract.messages import Stream
from tests.support.sim_station import Station

_ACTS: dict[str, Callable[[Station], object]] = {
    "an event": Station.event,
    "a window": Station.window,
    "verdicts": Station.parts,
    "a sample": Station.sample,
    "sending": lambda station: [station.sender.step() for _ in range(3)],
    "time": lambda station: station.wire.advance(0.5),
    "long time": lambda station: station.wire.advance(30.0),
    "the server's word": lambda station: station.wire.acknowledge(station.sender),
    "an outage": lambda station: station.wire.disconnect(),
    "a connection": lambda station: station.wire.connect(station.sender),
    "a server that is down": lambda station: setattr(station.wire, "deaf", True),
    "a server that is up": lambda station: setattr(station.wire, "deaf", False),
    "a restart": Station.restart,
}
_many = st.tuples(st.sampled_from(sorted(_ACTS)), st.integers(1, 12))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts=st.lists(_many, max_size=40), limit=st.sampled_from([30_000, 300_000]))
def test_everything_arrives_once_acknowledged_never_again(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]], limit: int
) -> None:
    station = Station(tmp_path_factory.mktemp("s"), limit=limit, rate=100_000)
    station.wire.connect(station.sender)
    for name, times in acts:
        for _ in range(times):
            _ACTS[name](station)
    _drain(station)
    assert station.wire.sent_after_ack == []
    for stream in Stream:
        _is_whole(station, stream)
    station.db.close()


def _drain(station: Station) -> None:
    station.wire.deaf = False
    station.wire.connect(station.sender)
    for _ in range(2000):
        station.turn()
        if not station.waiting():
            return
    raise AssertionError(f"{station.waiting()} records still wait")


def _is_whole(station: Station, stream: Stream) -> None:
    """Each number arrived, as a record or within a gap."""
    covered = set(station.wire.records[stream])
    for first, last in station.wire.gaps[stream]:
        covered.update(range(first, last + 1))
    assert covered == set(range(1, station.spool.last(stream) + 1))
    assert station.wire.positions[stream].contiguous == station.spool.last(stream)
    assert station.wire.positions[stream].beyond == ()
