"""The spool: contiguous numbers, acknowledged records go, a full one leaves gaps that move on."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.db import Database
from edge_agent.spool import Spool, Stamp, Value
from fleet_contract.messages import EventBody, Stream


def stamp() -> Stamp:
    return Stamp("boot", 1.0, 2.0, True)


def event(size: int = 10) -> EventBody:
    return EventBody(kind="test", text="x" * size)


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return Database(tmp_path / "agent.db")


@pytest.fixture
def spool(db: Database) -> Spool:
    return Spool(db, 1_000_000, stamp)


def test_numbers_are_contiguous_from_one_in_each_stream(spool: Spool) -> None:
    first = [spool.append(Stream.EVENTS, event(), Value.EVENT) for _ in range(3)]
    assert first == [1, 2, 3]
    assert spool.append(Stream.PARTS, event(), Value.PARTS) == 1
    numbers = [entry.number for entry in spool.pending(Stream.EVENTS, 0, 100, 10**6)]
    assert numbers == [1, 2, 3]


def test_acknowledged_records_go_and_numbers_never_come_again(spool: Spool) -> None:
    for _ in range(3):
        spool.append(Stream.EVENTS, event(), Value.EVENT)
    spool.ack(Stream.EVENTS, 3)
    assert spool.usage() == (0, 0)
    assert spool.first(Stream.EVENTS) == 4
    assert spool.append(Stream.EVENTS, event(), Value.EVENT) == 4


def test_the_spool_id_lasts_as_long_as_the_database(tmp_path: Path) -> None:
    first = Spool(Database(tmp_path / "a.db"), 10**6, stamp).id
    assert Spool(Database(tmp_path / "a.db"), 10**6, stamp).id == first
    assert Spool(Database(tmp_path / "b.db"), 10**6, stamp).id != first


def test_what_is_worth_least_is_dropped_first(db: Database) -> None:
    spool = Spool(db, 6_000, stamp)
    spool.append(Stream.PARTS, event(), Value.PARTS)
    spool.append(Stream.SAMPLES, event(), Value.REJECT_SAMPLE, b"r" * 2000)
    spool.append(Stream.SAMPLES, event(), Value.AUDIT_SAMPLE, b"a" * 2000)
    spool.append(Stream.SAMPLES, event(), Value.REJECT_SAMPLE, b"r" * 2000)
    samples = spool.pending(Stream.SAMPLES, 0, 10, 10**6)
    assert [entry.record.gap is not None for entry in samples] == [False, True, False]
    assert spool.pending(Stream.PARTS, 0, 10, 10**6)[0].record.gap is None


def test_neighbouring_gaps_become_one(db: Database) -> None:
    spool = Spool(db, 3_000, stamp)
    for _ in range(20):
        spool.append(Stream.SAMPLES, event(), Value.AUDIT_SAMPLE, b"a" * 1000)
    entries = spool.pending(Stream.SAMPLES, 0, 100, 10**6)
    gaps = [entry for entry in entries if entry.record.gap]
    assert len(gaps) == 1
    assert (gaps[0].number, gaps[0].record.gap and gaps[0].record.gap.records) == (1, 18)


def test_an_ack_inside_a_gap_leaves_the_rest_of_it(db: Database) -> None:
    spool = Spool(db, 3_000, stamp)
    for _ in range(10):
        spool.append(Stream.SAMPLES, event(), Value.AUDIT_SAMPLE, b"a" * 1000)
    spool.ack(Stream.SAMPLES, 4)
    assert spool.first(Stream.SAMPLES) == 5
    assert spool.pending(Stream.SAMPLES, 0, 10, 10**6)[0].through == 8


def test_an_ack_beyond_the_last_number_moves_numbering_on(spool: Spool) -> None:
    spool.append(Stream.EVENTS, event(), Value.EVENT)
    spool.ack(Stream.EVENTS, 50)
    assert spool.append(Stream.EVENTS, event(), Value.EVENT) == 51


def test_a_batch_that_fails_leaves_nothing_behind(db: Database, spool: Spool) -> None:
    def batch() -> None:
        with db.transaction():
            spool.append(Stream.EVENTS, event(), Value.EVENT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        batch()
    assert spool.usage() == (0, 0)
    assert spool.append(Stream.EVENTS, event(), Value.EVENT) == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["event", "sample", "ack"]), st.integers(0, 30)), max_size=60
    )
)
def test_every_number_is_pending_or_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    spool = Spool(Database(tmp_path_factory.mktemp("s") / "a.db"), 4_000, stamp)
    acked = {Stream.EVENTS: 0, Stream.SAMPLES: 0}
    for kind, number in steps:
        if kind == "event":
            spool.append(Stream.EVENTS, event(200), Value.EVENT)
        elif kind == "sample":
            spool.append(Stream.SAMPLES, event(), Value.AUDIT_SAMPLE, b"a" * 700)
        else:
            for stream in acked:
                upto = min(number, spool.last(stream))
                spool.ack(stream, upto)
                acked[stream] = max(acked[stream], upto)
    for stream, done in acked.items():
        covered = done
        for entry in spool.pending(stream, 0, 1000, 10**9):
            assert entry.number == covered + 1
            covered = entry.through
        assert covered == spool.last(stream)
    records, size = spool.usage()
    assert records == sum(len(spool.pending(s, 0, 1000, 10**9)) for s in acked)
    assert size >= 0
