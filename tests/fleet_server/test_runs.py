"""Training runs: leased once, kept alive, tried again, ended for good."""

import pytest

from fleet_contract.clock import ManualClock
from fleet_contract.errors import StateError
from fleet_server.config import RunsConfig
from fleet_server.errors import LostLeaseError
from fleet_server.registry.models import Line
from fleet_server.registry.service import find_line
from fleet_server.runs import service
from fleet_server.runs.causes import Kind, came, read
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

    def add(self, by: str = "ann", incident: int | None = None) -> TrainingRun:
        kind: Kind = "api" if incident is None else "incident"
        with self._database.write() as session:
            return service.queue_run(
                session, self._clock.time(), by, "line", kind=kind, incident=incident
            )

    def change_line(self, **fields: object) -> None:
        with self._database.write() as session:
            line = find_line(session, "line")
            for name, value in fields.items():
                setattr(line, name, value)
            session.add(line)

    def give_back(self, run: TrainingRun) -> TrainingRun:
        with self._database.write() as session:
            return service.give_back(session, self._clock.time(), run.id, "w1")

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
    assert queue.cancel(queue.add()).state == "cancelled"
    leased = queue.add()
    assert queue.lease() is not None
    queue.cancel(leased)
    assert queue.beat(leased)
    assert queue.finish(leased, FAILED).state == "cancelled"
    with pytest.raises(StateError):
        queue.cancel(leased)


def test_a_burst_of_causes_is_one_run_that_remembers_them(queue: Queue) -> None:
    first = queue.add()
    assert queue.add("bob").id == queue.add("bob").id == queue.add(incident=7).id == first.id
    run = queue.state(first)
    found = [(cause.kind, cause.by, cause.incident, cause.times) for cause in read(run.causes)]
    assert found == [
        ("api", "ann", None, 1), ("api", "bob", None, 2), ("incident", "ann", 7, 1)
    ]  # fmt: skip
    assert (run.requested_by, run.incident, came(run.causes)) == ("ann", 7, 4)


def test_a_running_run_is_followed_by_one(queue: Queue) -> None:
    running = queue.add()
    queue.lease("w1")
    following = queue.add()
    assert following.id != running.id
    assert queue.add("bob").id == following.id
    assert queue.lease("w2") is None
    queue.finish(running)
    leased = queue.lease("w2")
    assert leased is not None
    assert leased.id == following.id


def test_a_run_trains_from_what_its_line_is_when_it_is_first_leased(
    queue: Queue, clock: ManualClock
) -> None:
    run = queue.add()
    queue.change_line(dataset="e" * 64, champion="c" * 64, epoch=2)
    leased = queue.lease()
    assert leased is not None
    assert (leased.dataset, leased.champion, leased.epoch) == ("e" * 64, "c" * 64, 2)
    queue.change_line(dataset="f" * 64, champion="d" * 64)
    clock.advance(31)
    again = queue.lease("w2")
    assert again is not None
    assert (again.id, again.dataset, again.champion) == (run.id, "e" * 64, "c" * 64)


def test_a_begun_run_that_waits_again_takes_no_cause_in_and_goes_first(
    queue: Queue, clock: ManualClock
) -> None:
    run = queue.add()
    queue.lease()
    clock.advance(31)
    assert queue.state(run).state == "queued"
    assert queue.add().id != run.id
    again = queue.lease("w2")
    assert again is not None
    assert again.id == run.id


def test_other_lines_are_trained_at_the_same_time(queue: Queue, services: Services) -> None:
    queue.add()
    queue.lease("w1")
    with services.database.write() as session:
        session.add(Line(name="other", training_config="[line]\n", dataset="d" * 64))
        service.queue_run(session, 1.0, "ann", "other")
    other = queue.lease("w2")
    assert other is not None
    assert other.line == "other"


def test_a_worker_that_ends_gives_its_run_back_without_spending_an_attempt(queue: Queue) -> None:
    run = queue.add()
    for _ in range(CONFIG.attempts + 1):
        assert queue.lease() is not None
        assert queue.give_back(run).state == "queued"
    assert queue.lease() is not None
    queue.cancel(run)
    assert queue.give_back(run).state == "cancelled"
    with pytest.raises(LostLeaseError):
        queue.give_back(run)


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
