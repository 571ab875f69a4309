"""Training runs: leased once, kept alive, tried again, ended for good."""

import pytest

from fleet_contract.clock import ManualClock
from fleet_contract.errors import StateError
from fleet_server.config import RunsConfig
from fleet_server.errors import LostLeaseError
from fleet_server.registry.models import Line
from fleet_server.runs import service
from fleet_server.runs.models import TrainingRun
from fleet_server.services import Services

CONFIG = RunsConfig(attempts=2)
DONE = service.Outcome(True, "b" * 64, {}, {"auroc": 0.97}, "")
FAILED = service.Outcome(False, None, {}, {}, "out of memory")


class Queue:
    """The service with its session and time filled in."""

    def __init__(self, services: Services, clock: ManualClock) -> None:
        self._database, self._clock = services.database, clock
        with self._database.write() as session:
            session.add(Line(name="line", training_config="[line]\n", dataset="d" * 64))

    def add(self) -> TrainingRun:
        with self._database.write() as session:
            return service.queue_run(session, self._clock.time(), "ann", "line")

    def lease(self, worker: str = "w1") -> TrainingRun | None:
        with self._database.write() as session:
            return service.lease(session, self._clock.time(), CONFIG, worker)

    def beat(self, run: TrainingRun, worker: str = "w1") -> bool:
        with self._database.write() as session:
            return service.heartbeat(
                session, self._clock.time(), CONFIG, run.id, worker,
                progress=0.5, message="half", log=["one", "two"],
            )  # fmt: skip

    def finish(self, run: TrainingRun, outcome: service.Outcome = DONE) -> TrainingRun:
        with self._database.write() as session:
            return service.finish(session, self._clock.time(), run.id, "w1", outcome)

    def cancel(self, run: TrainingRun) -> TrainingRun:
        with self._database.write() as session:
            return service.cancel(session, self._clock.time(), "ann", run.id)

    def retry(self, run: TrainingRun) -> TrainingRun:
        with self._database.write() as session:
            return service.retry(session, self._clock.time(), "ann", run.id)

    def state(self, run: TrainingRun) -> TrainingRun:
        with self._database.write() as session:
            service.expire(session, self._clock.time(), CONFIG)
            return service.find_run(session, run.id)


@pytest.fixture
def queue(services: Services, clock: ManualClock) -> Queue:
    return Queue(services, clock)


def test_a_run_is_leased_to_one_worker(queue: Queue) -> None:
    run = queue.add()
    leased = queue.lease("w1")
    assert leased is not None
    assert (leased.id, leased.state, leased.attempts) == (run.id, "leased", 1)
    assert queue.lease("w2") is None
    with pytest.raises(LostLeaseError):
        queue.beat(run, "w2")


def test_heartbeats_keep_a_lease_and_its_log(
    queue: Queue, clock: ManualClock, services: Services
) -> None:
    run = queue.add()
    queue.lease()
    for _ in range(5):
        clock.advance(20)
        assert not queue.beat(run)
    assert queue.state(run).state == "leased"
    with services.database.read() as session:
        assert [entry.text for entry in service.logs(session, run.id)][:2] == ["one", "two"]


def test_a_lost_worker_is_replaced_until_the_attempts_are_used_up(
    queue: Queue, clock: ManualClock
) -> None:
    run = queue.add()
    queue.lease("w1")
    clock.advance(31)
    assert queue.state(run).state == "queued"
    with pytest.raises(LostLeaseError):
        queue.beat(run, "w1")
    assert queue.lease("w2") is not None
    clock.advance(31)
    ended = queue.state(run)
    assert (ended.state, ended.error) == ("failed", "its worker was lost 2 times")
    assert queue.lease("w3") is None


def test_an_end_is_final_until_a_person_retries(queue: Queue) -> None:
    run = queue.add()
    queue.lease()
    assert queue.finish(run, FAILED).error == "out of memory"
    with pytest.raises(LostLeaseError):
        queue.finish(run)
    assert queue.retry(run).state == "queued"
    queue.lease()
    ended = queue.finish(run)
    assert (ended.state, ended.worker, ended.bundle) == ("succeeded", "w1", "b" * 64)
    assert ended.metrics == {"auroc": 0.97}
    with pytest.raises(StateError):
        queue.retry(run)


def test_cancel_reaches_the_worker_by_its_heartbeat(queue: Queue) -> None:
    waiting, leased = queue.add(), queue.add()
    assert queue.cancel(waiting).state == "cancelled"
    assert queue.lease() is not None
    queue.cancel(leased)
    assert queue.beat(leased)
    assert queue.finish(leased, FAILED).state == "cancelled"
    with pytest.raises(StateError):
        queue.cancel(leased)


def test_a_cancelled_run_whose_worker_is_lost_is_cancelled(
    queue: Queue, clock: ManualClock
) -> None:
    run = queue.add()
    queue.lease()
    queue.cancel(run)
    clock.advance(31)
    assert queue.state(run).state == "cancelled"


def test_a_line_without_a_dataset_cannot_be_trained(services: Services) -> None:
    with services.database.write() as session:
        session.add(Line(name="empty", training_config="[line]\n"))
        with pytest.raises(StateError, match="has no dataset"):
            service.queue_run(session, 0.0, "ann", "empty")
