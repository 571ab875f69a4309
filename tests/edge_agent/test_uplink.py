"""A day without a broker, in simulated time, and the day after: what is kept, what comes first."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.spool import Value
from fleet_contract.messages import Stream
from tests.support.sim_station import Station

MINUTES = 24 * 60
LINK_RATE = 100_000
"""Bytes a second: a day's reports take some minutes."""
LIVE_S = 5.0
"""How late what is new may be beside a backlog on such a link."""
LIMIT = 2_200_000


def a_day_offline(station: Station) -> None:
    """Every minute a window and a batch, an image every ten, an event every hour."""
    for minute in range(MINUTES):
        with station.db.transaction():
            station.window()
            station.parts()
            if minute % 10 == 0:
                station.sample(Value.AUDIT_SAMPLE if minute % 20 else Value.REJECT_SAMPLE)
            if minute % 60 == 0:
                station.event()
        station.clock.advance(60)
        assert not station.sender.step(), "nothing is sent without a broker"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path, limit=LIMIT, rate=LINK_RATE)
    yield made
    made.db.close()


def covered(station: Station, stream: Stream) -> int:
    """Numbers of the stream that the server has as records, the rest being gaps that were counted."""
    kept = len(station.wire.records[stream])
    gaps = sum(last - first + 1 for first, last in station.wire.gaps[stream])
    assert kept + gaps == station.spool.last(stream), "every number is a record, or in a gap"
    return kept


def test_a_day_without_a_broker_is_kept_by_value_and_caught_up_beside_live_data(
    station: Station,
) -> None:
    a_day_offline(station)
    assert station.spool.usage()[1] <= LIMIT
    station.wire.connect(station.sender)
    made_s: dict[tuple[Stream, int], float] = {}
    turns = 0
    while station.waiting() > 2 or turns < 100:
        turns += 1
        assert turns < 10_000, "the backlog drains"
        now = station.clock.monotonic()
        if turns % 5 == 0:
            made_s[Stream.PARTS, station.parts()] = now
        if turns % 100 == 1:
            made_s[Stream.EVENTS, station.event()] = now
            made_s[Stream.WINDOWS, station.window()] = now
        station.turn()
    while station.waiting():
        station.turn()
    late_s = {key: station.wire.arrived_s[key] - at_s for key, at_s in made_s.items()}
    assert max(late_s.values()) < LIVE_S, "what is new is not starved by the backlog"
    assert turns > 500, "there was a backlog for minutes"
    assert covered(station, Stream.EVENTS) == station.spool.last(Stream.EVENTS)
    assert covered(station, Stream.PARTS) == station.spool.last(Stream.PARTS)
    assert covered(station, Stream.SAMPLES) == 0, "images are worth least"
    assert 300 < covered(station, Stream.WINDOWS) < MINUTES
    assert station.wire.sent_after_ack == []
    assert station.sender.resends == 0


def test_images_come_when_nothing_else_waits_and_live_data_goes_between_their_blocks(
    station: Station,
) -> None:
    samples = [station.sample() for _ in range(40)]
    station.wire.connect(station.sender)
    made_s = {}
    for turn in range(150):
        if turn % 20 == 5:
            made_s[Stream.EVENTS, station.event()] = station.clock.monotonic()
        station.turn()
    assert all((Stream.SAMPLES, number) in station.wire.arrived_s for number in samples)
    late_s = [station.wire.arrived_s[key] - at_s for key, at_s in made_s.items()]
    assert max(late_s) < LIVE_S
    assert station.waiting() == 0


def test_on_a_link_that_takes_longer_than_the_servers_time_nothing_is_sent_twice(
    tmp_path: Path,
) -> None:
    station = Station(tmp_path, limit=LIMIT, rate=2_000)
    for _ in range(10):
        station.sample()
    station.wire.connect(station.sender)
    for _ in range(1000):
        station.turn()
    assert station.waiting() == 0
    assert station.sender.resends == 0
    assert station.wire.sent_bytes < 10 * 21_500
    station.db.close()


def test_what_a_server_that_was_away_has_not_heard_is_sent_again(station: Station) -> None:
    station.wire.connect(station.sender)
    station.wire.deaf = True
    numbers = [station.event() for _ in range(3)]
    station.turn()
    station.wire.deaf = False
    for _ in range(150):
        station.turn()
    assert sorted(station.wire.records[Stream.EVENTS]) == numbers
    assert station.waiting() == 0
    assert station.sender.resends == 1


def test_the_servers_word_on_an_image_ends_its_second_sending(station: Station) -> None:
    station.sample()
    station.wire.connect(station.sender)
    while station.sender.step():
        pass
    station.wire.advance(10)
    station.wire.connect(station.sender)
    assert station.sender.step(), "a new connection: it is sent again"
    station.wire.acknowledge(station.sender)
    assert not station.sender.step(), "but for its other blocks"
    assert station.wire.sent_after_ack == []


def test_a_gap_that_reaches_beyond_what_was_sent_is_sent_at_once(station: Station) -> None:
    station.wire.connect(station.sender)
    for _ in range(3):
        station.sample()
    for _ in range(4):
        station.sender.step()
    for _ in range(130):
        station.sample(Value.REJECT_SAMPLE)
    assert station.spool.pending(Stream.SAMPLES, 0, 1, 0)[0].through > 1, "all three were dropped"
    for _ in range(20):
        station.turn()
    assert station.wire.positions[Stream.SAMPLES].contiguous > 3
    assert station.sender.resends == 0
