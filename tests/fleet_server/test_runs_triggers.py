"""What starts runs by itself: new labels of a line and its schedule, by a clock turned by hand."""

from typing import Any

import pytest
from sqlmodel import select

from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_server.app import create_app
from fleet_server.controllers import Tick, core_ticks
from fleet_server.drift.models import Incident
from fleet_server.labels import service as labels
from fleet_server.registry.service import add_device, find_line, put_line, set_dataset
from fleet_server.runs import causes, triggers
from fleet_server.runs.models import TrainingRun
from fleet_server.runs.service import lease
from fleet_server.services import Services
from tests.support.http import serve
from tests.support.telemetry import LINE, png, record, sample

STATION = "station-1"
HOUR_S = 3600


class Factory:
    """A line with a dataset, a station that sends samples, and the rule that looks."""

    def __init__(self, services: Services, clock: ManualClock) -> None:
        self.services, self.clock = services, clock
        self._ticks: dict[str, Tick] = {tick.name: tick for tick in core_ticks(services)}
        self._samples = 0
        with services.database.write() as session:
            add_device(session, 0.0, "test", STATION, "no certificate", line=LINE)
        self.policy()
        self.add_dataset()

    def policy(self, **policy: object) -> None:
        """The line is trained by these rules from now on."""
        with self.services.database.write() as session:
            put_line(session, 0.0, "test", LINE, training_config="[line]\n", policy=policy)

    def add_dataset(self) -> None:
        """The line's first version."""
        items = [
            DatasetItem(
                sha256=self.services.store.put(png(seed)), label="good", group=f"p{seed}",
                split=split,
            )
            for seed, split in ((901, "train"), (902, "holdout"))
        ]  # fmt: skip
        version = DatasetVersion(line=LINE, reason="import", channels=3, items=items)
        with self.services.database.write() as session:
            row = labels.add_dataset(session, self.services.store, 0.0, "ann", version)
            set_dataset(session, 0.0, "ann", LINE, row.digest)

    def label(self, count: int, incident: int | None = None) -> None:
        """So many samples come in and are labelled."""
        for _ in range(count):
            self._samples += 1
            data = png(self._samples)
            self.services.store.put(data)
            body = sample(f"s{self._samples}", data, part=self._samples)
            now = self.clock.time()
            with self.services.database.write() as session:
                one = record(self._samples, body)
                labels.add_sample(session, STATION, "spool-1", one, body, now, incident)
                labels.set_label(session, now, "ann", body.sample_id, "defect")

    def look(self) -> list[TrainingRun]:
        """The rule looks once; all runs then, the first one first."""
        self._ticks["triggers"].act()
        with self.services.database.read() as session:
            return list(session.exec(select(TrainingRun)))

    def lease(self) -> TrainingRun | None:
        with self.services.database.write() as session:
            config = self.services.config.runs
            return lease(session, self.clock.time(), config, "w1")

    def version(self) -> DatasetVersion:
        """The line's dataset."""
        with self.services.database.read() as session:
            digest = find_line(session, LINE).dataset or ""
            return labels.load_dataset(session, self.services.store, digest)

    def outlook(self) -> triggers.Outlook:
        with self.services.database.read() as session:
            return triggers.outlook(session, find_line(session, LINE), self.clock.time())


@pytest.fixture
def factory(services: Services, clock: ManualClock) -> Factory:
    return Factory(services, clock)


def said(run: TrainingRun) -> list[tuple[str, str, int]]:
    """The causes of a run: kind, words, how often."""
    return [(cause.kind, cause.text, cause.times) for cause in causes.read(run.causes)]


def test_a_line_whose_policy_says_nothing_is_not_trained_by_itself(factory: Factory) -> None:
    factory.label(5)
    factory.clock.advance(1000 * HOUR_S)
    assert factory.look() == []


def test_enough_new_labels_make_a_version_and_a_run(factory: Factory) -> None:
    factory.policy(train_after_labels=3)
    factory.label(2)
    assert factory.look() == []
    assert factory.outlook().new_labels == 2
    factory.label(1)
    (run,) = factory.look()
    assert said(run) == [("labels", "3 new labels", 1)]
    version = factory.version()
    assert run.dataset == version.digest()
    assert (version.reason, len(version.items)) == ("3 new labels", 5)
    assert len(factory.look()) == 1
    assert factory.outlook().new_labels == 0


def test_labels_that_come_while_a_run_waits_join_it(factory: Factory) -> None:
    factory.policy(train_after_labels=2)
    for _ in range(3):
        factory.label(2)
        factory.look()
    (run,) = factory.look()
    assert said(run) == [("labels", "2 new labels", 3)]
    leased = factory.lease()
    assert leased is not None
    assert leased.dataset == factory.version().digest()
    assert len(factory.version().items) == 8


def test_labels_of_an_incident_that_still_gathers_are_left_to_it(factory: Factory) -> None:
    factory.policy(train_after_labels=2)
    opened: dict[str, Any] = {
        "device": STATION, "line": LINE, "camera": "cam1", "cause": "light", "state": "labelling",
        "opened_at": 1.0, "parts_until_alarm": 8,
    }  # fmt: skip
    with factory.services.database.write() as session:
        session.add(Incident.model_validate(opened))
    factory.label(3, incident=1)
    assert factory.look() == []
    with factory.services.database.write() as session:
        incident = session.get(Incident, 1)
        assert incident is not None
        incident.state = "closed"
        session.add(incident)
    assert len(factory.look()) == 1


def test_labels_that_a_version_holds_already_are_not_new(factory: Factory) -> None:
    factory.label(3)
    with factory.services.database.write() as session:
        base = labels.load_dataset(session, factory.services.store, factory.version().digest())
        found = labels.list_samples(session, state="labelled")
        version = base.extend([labels.item_of(one, 0.3) for one in found], "by hand")
        row = labels.add_dataset(session, factory.services.store, 1.0, "ann", version)
        set_dataset(session, 1.0, "ann", LINE, row.digest)
    factory.policy(train_after_labels=1)
    assert factory.look() == []
    assert factory.outlook().new_labels == 0


def test_a_schedule_starts_a_run_at_its_time_and_once(factory: Factory, clock: ManualClock) -> None:
    factory.policy(train_schedule="every 6h")
    assert factory.look() == []
    clock.advance(6 * HOUR_S - 1)
    assert factory.look() == []
    clock.advance(1)
    (run,) = factory.look()
    assert said(run) == [("schedule", "every 6h", 1)]
    factory.look()
    assert len(factory.look()) == 1


def test_times_that_were_missed_are_one_run(factory: Factory, clock: ManualClock) -> None:
    factory.policy(train_schedule="daily 02:00")
    factory.look()
    clock.advance(24 * 5 * HOUR_S)
    (run,) = factory.look()
    assert said(run) == [("schedule", "daily 02:00", 1)]


def test_a_scheduled_run_takes_new_labels_in(factory: Factory, clock: ManualClock) -> None:
    factory.policy(train_schedule="every 1h")
    factory.look()
    factory.label(2)
    clock.advance(HOUR_S)
    (run,) = factory.look()
    assert run.dataset == factory.version().digest()
    assert len(factory.version().items) == 4


def test_a_burst_of_labels_a_schedule_and_people_is_one_run(
    factory: Factory, clock: ManualClock
) -> None:
    factory.policy(train_schedule="every 1h", train_after_labels=2)
    factory.look()
    factory.label(2)
    factory.look()
    clock.advance(HOUR_S)
    factory.look()
    with serve(create_app(factory.services)) as client:
        for via in ("api", "command line", "command line"):
            asked = client.post("runs", json={"line": LINE, "by": "ann", "via": via})
            assert asked.status_code == 200, asked.text
    (run,) = factory.look()
    assert said(run) == [
        ("labels", "2 new labels", 1), ("schedule", "every 1h", 1), ("api", "", 1),
        ("command line", "", 2),
    ]  # fmt: skip


def test_a_changed_schedule_begins_anew(factory: Factory, clock: ManualClock) -> None:
    factory.policy(train_schedule="every 6h")
    factory.look()
    clock.advance(5 * HOUR_S)
    factory.policy(train_schedule="every 2h")
    assert factory.look() == []
    clock.advance(2 * HOUR_S)
    assert len(factory.look()) == 1


def test_a_clock_that_was_wrong_does_not_silence_a_schedule(
    factory: Factory, clock: ManualClock
) -> None:
    factory.policy(train_schedule="every 6h")
    clock.set_wrong(1000 * HOUR_S)
    factory.look()
    clock.set_wrong(-1000 * HOUR_S)
    factory.look()
    clock.advance(6 * HOUR_S)
    assert len(factory.look()) == 1


def test_a_line_that_cannot_be_trained_says_why_until_the_next_time(
    factory: Factory, clock: ManualClock
) -> None:
    factory.policy(train_schedule="every 1h")
    with factory.services.database.write() as session:
        line = find_line(session, LINE)
        dataset, line.dataset = line.dataset, None
        session.add(line)
    factory.look()
    clock.advance(HOUR_S)
    assert factory.look() == []
    assert "has no dataset" in factory.outlook().note
    assert factory.outlook().next_at == clock.time() + HOUR_S
    with factory.services.database.write() as session:
        set_dataset(session, 1.0, "ann", LINE, dataset or "")
    assert factory.look() == []
    clock.advance(HOUR_S)
    assert len(factory.look()) == 1
    assert factory.outlook().note == ""


def test_a_person_may_train_on_what_was_labelled_since(factory: Factory) -> None:
    factory.label(2)
    with serve(create_app(factory.services)) as client:
        (before,) = client.get("runs/outlook").json()
        assert (before["line"], before["new_labels"], before["ready"]) == (LINE, 2, True)
        asked = client.post("runs", json={"line": LINE, "by": "ann", "take_labels": True})
        assert asked.status_code == 201, asked.text
        (cause,) = asked.json()["causes"]
        assert (cause["kind"], cause["by"], cause["text"]) == ("api", "ann", "2 new labels")
        (after,) = client.get("runs/outlook").json()
        assert (after["new_labels"], after["dataset"]) == (0, asked.json()["dataset"])


def test_a_version_is_counted_when_it_is_made(factory: Factory) -> None:
    factory.label(4)
    with serve(create_app(factory.services)) as client:
        client.post("runs", json={"line": LINE, "take_labels": True})
        first, second = client.get("datasets").json()
    assert first["counts"]["images"] == {"train": 1, "holdout": 1}
    counts = second["counts"]
    assert counts["labels"]["good"] == {"train": 1, "holdout": 1}
    assert sum(counts["labels"]["defect"].values()) == sum(counts["defective"].values()) == 4
    assert list(counts["slices"]["station"]) == [STATION]
