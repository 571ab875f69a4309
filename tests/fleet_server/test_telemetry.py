"""Counting: how far a stream is, and which parts are missing."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_contract.messages import EventBody, Stream
from fleet_contract.names import Verdict
from fleet_server.services import Services
from fleet_server.telemetry import service
from fleet_server.telemetry.rules import MAX_INTERVALS, Position, count_parts, ranges
from tests.support.telemetry import envelope, parts, record, window


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=40))
def test_a_position_is_the_set_of_what_was_added(added: list[tuple[int, int]]) -> None:
    position, stored = Position(), set[int]()
    for first, more in added:
        after = position.add(first, first + more)
        assert after is not None
        position, stored = after, stored | set(range(first, first + more + 1))
    contiguous = next(n for n in range(100) if n + 1 not in stored)
    assert position.contiguous == contiguous
    assert all(position.has(n) == (n in stored) for n in range(1, 100))


def test_too_many_holes_are_left_to_be_resent() -> None:
    position = Position()
    for n in range(MAX_INTERVALS):
        after = position.add(2 + 2 * n, 2 + 2 * n)
        assert after is not None
        position = after
    assert position.add(10**6, 10**6) is None


@given(st.lists(st.integers(1, 80), min_size=1, max_size=60))
def test_parts_are_counted_as_sets(numbers: list[int]) -> None:
    count = count_parts([(n, n) for n in numbers])
    missing = {n for first, last in count.missing for n in range(first, last + 1)}
    assert count.counted == len(set(numbers))
    assert count.duplicates == len(numbers) - len(set(numbers))
    assert missing == set(range(min(numbers), max(numbers))) - set(numbers)
    assert count.missing_count == len(missing)


def test_runs_of_numbers_are_ranges() -> None:
    assert ranges([1, 2, 3, 7, 8, 8]) == [(1, 3), (7, 8), (8, 8)]


def test_a_summary_names_missing_parts_in_any_order_of_arrival(services: Services) -> None:
    bodies = [
        parts(1, 10),
        parts(11, 20, Verdict.REJECT),
        parts(24, 30, Verdict.NO_DECISION),
        parts(28, 30),
    ]
    records = [record(n + 1, body) for n, body in enumerate(bodies)]
    random.Random(1).shuffle(records)
    with services.database.write() as session:
        for one in records:
            assert not service.store(session, envelope("s1", Stream.PARTS, [one]), 1.0)
    with services.database.read() as session:
        (kinds, count) = service.parts_summary(session, "s1")["s1", "watch-case", "cam1"]
    assert kinds == {"accept": 13, "reject": 10, "no_decision": 7}
    assert (count.missing, count.counted, count.duplicates) == ([(21, 23)], 27, 3)


def test_old_windows_are_forgotten_but_the_newest(services: Services) -> None:
    with services.database.write() as session:
        for n, received in enumerate((1.0, 100.0)):
            sent = envelope("s1", Stream.WINDOWS, [record(n + 1, window())])
            service.store(session, sent, received)
        assert service.forget_windows(session, 50.0) == 1
        assert service.forget_windows(session, 500.0) == 0
        assert len(service.recent_windows(session, "s1", None, 0.0, 10)) == 1


@pytest.mark.parametrize(
    "data",
    [{}, {"state": "flying"}, {"state": "failed", "digest": "x", "rollout": "1", "attempt": 0}],
    ids=["empty", "unknown-state", "no-digest"],
)
def test_an_update_step_that_cannot_be_read_never_reaches_the_rollouts(
    services: Services, data: dict[str, Any]
) -> None:
    body = EventBody(kind="update", text="update", data=data)
    with services.database.write() as session:
        problems = service.store(
            session, envelope("station-1", Stream.EVENTS, [record(1, body)]), 0.0
        )
        stored = service.recent_events(session, "station-1", None, 0, 10)
        ack = service.acknowledgement(session, "station-1", "spool-1")
    assert len(problems) == 1
    assert stored == []
    assert ack is not None
    assert ack.streams[Stream.EVENTS] == 1
