"""Reports: batches, windows, samples and progress in one transaction, and nothing counted twice."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import pytest

from edge_agent.batch import MOST_IN_A_RECORD, BatchStore
from edge_agent.config import WindowsConfig
from edge_agent.db import Database
from edge_agent.report import Judged, Report
from edge_agent.source.base import Progress
from edge_agent.spool import Spool, Stamp
from fleet_contract.clock import ManualClock
from fleet_contract.messages import (
    NAME_LENGTH,
    VIEW_LENGTH,
    PartsBody,
    PartVerdict,
    SampleBody,
    Stream,
)
from fleet_contract.names import Verdict
from fleet_contract.topics import BLOCK_LIMIT
from fleet_contract.windows import Window
from tests.support.tiny_bundle import solid

P = ParamSpec("P")
T = TypeVar("T")
A, B = "a" * 64, "b" * 64


class AtOnce(Executor):
    """A writer that is never behind."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except sqlite3.Error as error:
            done.set_exception(error)
        return done


class Later(Executor):
    """A writer whose disk is slow: it writes when it is told to."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        self._waiting.append(lambda: done.set_result(fn(*args, **kwargs)))
        return done

    def write(self) -> None:
        """One batch."""
        self._waiting.pop(0)()


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.db = Database(folder / "agent.db")
        self.spool = Spool(self.db, 10**7, lambda: Stamp("boot", 1.0, 2.0, True))
        self.stored = 0
        self.writer: Executor = AtOnce()
        self.report = self.open()

    def open(self) -> Report:
        return Report(
            BatchStore(self.db, self.spool, line="watch-case", camera="cam-1"), self.writer,
            self.clock, WindowsConfig(length="2s", sample_rate="5Hz"),
            line="watch-case", camera="cam-1", deadline_s=0.5, stored=self._count,
        )  # fmt: skip

    def _count(self) -> None:
        self.stored += 1

    def tick(self) -> bool:
        """Whether something was stored."""
        before = self.stored
        self.report.tick()
        return self.stored > before

    def part(self, trigger: int, digest: str | None = A) -> PartVerdict:
        progress = self.report.progress.at(trigger)
        verdict = PartVerdict(
            number=progress.part, verdict=Verdict.ACCEPT, score=0.2, digest=digest, latency_ms=3,
            time_s=self.clock.time(),
        )  # fmt: skip
        self.report.part(Judged(verdict), progress)
        return verdict

    def bodies(self, stream: Stream) -> list[dict[str, object]]:
        entries = self.spool.pending(stream, 0, 1000, 10**9)
        return [entry.record.body for entry in entries if entry.record.body]

    def numbers(self) -> list[int]:
        bodies = [PartsBody.model_validate(body) for body in self.bodies(Stream.PARTS)]
        return [verdict.number for body in bodies for verdict in body.verdicts]

    def windows(self) -> list[Window]:
        return [Window.model_validate(body) for body in self.bodies(Stream.WINDOWS)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_verdict_after_a_start_is_stored_at_once(bench: Bench) -> None:
    bench.part(1)
    assert bench.tick()
    assert bench.numbers() == [1]


def test_a_batch_is_stored_after_32_parts_or_a_second(bench: Bench) -> None:
    bench.part(1)
    assert bench.tick()
    for trigger in range(2, 33):
        bench.part(trigger)
        assert not bench.tick()
    bench.part(33)
    assert bench.tick()
    bench.part(34)
    bench.clock.advance(1.1)
    assert bench.tick()
    assert bench.numbers() == list(range(1, 35))


def test_progress_moves_with_the_batch_and_not_before(bench: Bench) -> None:
    bench.part(7)
    assert bench.open().progress == Progress()
    bench.report.flush()
    assert bench.open().progress == Progress(0, 7)


def test_a_window_and_the_batch_of_its_last_parts_are_stored_together(bench: Bench) -> None:
    bench.report.swap(A, None)
    for trigger in range(1, 6):
        bench.part(trigger)
        bench.report.frame(solid(100), "cam-1", "")
        bench.clock.advance(0.5)
        bench.tick()
    parts = sum(window.arms[A].parts for window in bench.windows())
    assert parts == 4
    assert bench.numbers()[:4] == [1, 2, 3, 4]
    assert bench.windows()[0].sampled_frames == 4


def test_a_swap_closes_the_window(bench: Bench) -> None:
    bench.report.swap(A, None)
    bench.part(1)
    bench.report.swap(B, None)
    bench.part(2, B)
    bench.report.close()
    assert [window.digest for window in bench.windows()] == [A, B]
    assert [list(window.arms) for window in bench.windows()] == [[A], [B]]


def test_a_window_without_a_part_or_frame_is_not_sent(bench: Bench) -> None:
    bench.clock.advance(10)
    bench.tick()
    assert bench.windows() == []


def test_samples_come_with_their_batch_and_their_bytes(bench: Bench) -> None:
    verdict = bench.part(1)
    bench.report.sample("reject", solid(230), verdict, camera="cam-1")
    bench.report.requested = 3
    bench.report.flush()
    body = SampleBody.model_validate(bench.bodies(Stream.SAMPLES)[0])
    image = bench.spool.image(1)
    assert image is not None
    assert (body.part, body.length, body.blocks) == (1, len(image), 1)
    assert bench.open().requested == 3


def test_on_a_full_disk_verdicts_wait_and_are_stored_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def full() -> Iterator[sqlite3.Connection]:
        raise sqlite3.OperationalError("database or disk is full")
        yield

    for trigger in range(1, 5):
        bench.part(trigger)
    with monkeypatch.context() as patch:
        patch.setattr(bench.db, "transaction", full)
        assert not bench.report.flush()
    assert bench.report.write_failures == 1
    bench.part(5)
    assert bench.report.flush()
    assert bench.numbers() == [1, 2, 3, 4, 5]


def test_while_a_batch_is_written_the_next_one_gathers_and_none_waits_for_the_disk(
    tmp_path: Path,
) -> None:
    bench, slow = Bench(tmp_path), Later()
    bench.writer = slow
    bench.report = bench.open()
    bench.part(1)
    assert not bench.tick()
    for trigger in range(2, 100):
        bench.part(trigger)
        assert not bench.tick()
    slow.write()
    assert bench.numbers() == [1]
    assert bench.open().progress == Progress(0, 1)
    bench.tick()
    slow.write()
    assert bench.numbers() == list(range(1, 100))


def test_pictures_that_a_slow_disk_cannot_take_are_given_up_and_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.writer = Later()
    bench.report = bench.open()
    large = np.zeros((3000, 4000), np.uint8)
    for trigger in range(1, 9):
        bench.report.sample("reject", large, bench.part(trigger), camera="cam-1")
    # Two wait for the batch that is written, two for the next; the others had no room.
    assert bench.report.given_up == 4


def test_a_disk_that_stays_full_costs_the_oldest_and_no_more_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def full() -> Iterator[sqlite3.Connection]:
        raise sqlite3.OperationalError("database or disk is full")
        yield

    monkeypatch.setattr(bench.db, "transaction", full)
    monkeypatch.setattr("edge_agent.report._MOST_VERDICTS_HELD", 20)
    large = np.zeros((3000, 4000), np.uint8)
    for trigger in range(1, 61):
        bench.report.sample("reject", large, bench.part(trigger), camera="cam-1")
        bench.clock.advance(1.1)
        bench.tick()
    assert not bench.report.flush()
    assert bench.report.given_up == 40 + 58
    monkeypatch.undo()
    assert bench.report.flush()
    assert bench.numbers() == list(range(41, 61))
    assert len(bench.bodies(Stream.SAMPLES)) == 2


def test_more_verdicts_than_one_batch_holds_become_several(bench: Bench) -> None:
    for trigger in range(1, 1203):
        bench.part(trigger)
    bench.report.flush()
    assert [len(PartsBody.model_validate(b).verdicts) for b in bench.bodies(Stream.PARTS)] == [
        220, 220, 220, 220, 220, 102,
    ]  # fmt: skip


def test_a_record_of_the_longest_verdicts_fits_one_message() -> None:
    longest = PartVerdict(
        number=10**12, verdict=Verdict.NO_DECISION, reason="frame_incomplete", score=1 / 3,
        digest=A, latency_ms=1e5 / 3, time_s=1e10 / 3, recipe="\N{PACKAGE}" * NAME_LENGTH,
        external_id="\N{PACKAGE}" * NAME_LENGTH, view="v" * VIEW_LENGTH,
    )  # fmt: skip
    body = PartsBody(line="watch-case", camera="cam-1", verdicts=[longest] * MOST_IN_A_RECORD)
    assert len(body.encode()) < 0.9 * BLOCK_LIMIT
