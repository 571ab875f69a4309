"""From windows to a baseline, an incident, samples, labels, a dataset version and a training run."""

import json

import numpy as np
import pytest
from sqlmodel import select

from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import StateError
from fleet_contract.messages import Command, Stream
from fleet_server.audit.models import AuditEntry
from fleet_server.audit.service import verify
from fleet_server.config import DriftConfig
from fleet_server.controllers import Tick, core_ticks
from fleet_server.drift import baselines, playbook
from fleet_server.drift.models import Baseline, Incident
from fleet_server.drift.service import look, open_incidents
from fleet_server.labels import service as labels
from fleet_server.registry.service import add_device, find_device, find_line, put_line, set_dataset
from fleet_server.runs import service as runs
from fleet_server.runs.models import TrainingRun
from fleet_server.services import Services
from fleet_server.telemetry.service import store
from tests.support.recorder import Recorder
from tests.support.telemetry import CAMERA, LINE, envelope, png, record, sample, window

STATION = "station-2"
DIM = {"mean": 100.0, "p99": 183.0, "std": 50.0, "p01": 8.3}
POLICY = {"retrain_on": ["light"], "samples": 6, "min_labelled": 4}


class Story:
    """One station that tells its windows, and the rules that look at them."""

    def __init__(self, services: Services, clock: ManualClock) -> None:
        self.services, self.clock = services, clock
        self._rng = np.random.default_rng(5)
        self._windows = self._samples = 0
        self._ticks: dict[str, Tick] = {tick.name: tick for tick in core_ticks(services)}
        with services.database.write() as session:
            add_device(session, clock.time(), "test", STATION, "no certificate", line=LINE)
            put_line(session, 0.0, "test", LINE, training_config="[line]\n", policy=POLICY)

    def inspect(
        self, count: int, levels: dict[str, float] | None = None, *, digest: str = "a" * 64,
        recipe: str = "",
    ) -> None:  # fmt: skip
        """`count` windows of 2 s, stored and looked at."""
        for _ in range(count):
            self._windows += 1
            body = window(self.clock.time(), levels=levels, rng=self._rng, digest=digest)
            body = body.model_copy(update={"recipe": recipe})
            sent = envelope(STATION, Stream.WINDOWS, [record(self._windows, body)])
            with self.services.database.write() as session:
                assert not store(session, sent, self.clock.time())
            self.clock.advance(2)
        self.look()

    def look(self) -> None:
        """Every rule looks once."""
        for name in ("drift", "playbook", "leases"):
            self._ticks[name].act()

    def accept(self, recipe: str = "") -> Baseline:
        place = (STATION, LINE, CAMERA, "proposed")
        with self.services.database.write() as session:
            proposed = baselines.current(session, *place, recipe=recipe)
            assert proposed is not None
            assert proposed.id is not None
            return baselines.accept(session, self.clock.time(), "ann", proposed.id)

    def incidents(self) -> list[Incident]:
        with self.services.database.read() as session:
            return open_incidents(session)

    def commands(self) -> list[Command]:
        publisher = self.services.publisher
        assert isinstance(publisher, Recorder)
        return [Command.decode(payload) for payload in publisher.on(f"{STATION}/down/cmd")]

    def send_samples(self, count: int) -> list[str]:
        """What the device answers to a `sample` command."""
        sent = []
        for _ in range(count):
            self._samples += 1
            data = png(self._samples)
            self.services.store.put(data)
            body = sample(f"s{self._samples}", data, part=self._samples)
            with self.services.database.write() as session:
                found = playbook.incident_for_sample(session, STATION, LINE, "requested")
                one = record(self._samples, body)
                now = self.clock.time()
                labels.add_sample(session, STATION, "spool-1", one, body, now, found)
            sent.append(body.sample_id)
        return sent

    def add_dataset(self) -> str:
        """The line's first version: two images."""
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
        return row.digest

    def label(self, names: list[str]) -> None:
        with self.services.database.write() as session:
            for n, name in enumerate(names):
                label = "good" if n % 2 else "defect"
                labels.set_label(session, self.clock.time(), "ann", name, label)


@pytest.fixture
def story(services: Services, clock: ManualClock) -> Story:
    return Story(services, clock)


@pytest.fixture
def watched(story: Story) -> Story:
    """A station with an accepted baseline."""
    story.inspect(30)
    story.accept()
    return story


@pytest.fixture
def dim(watched: Story) -> Story:
    """A station whose light has aged."""
    watched.inspect(20, DIM)
    return watched


def test_a_baseline_is_proposed_by_rule_and_accepted_by_a_person(story: Story) -> None:
    story.inspect(29)
    with story.services.database.read() as session:
        assert baselines.list_baselines(session) == []
    story.inspect(1)
    found = story.accept()
    assert (found.state, found.windows, found.accepted_by) == ("accepted", 30, "ann")
    with (
        story.services.database.write() as session,
        pytest.raises(StateError, match="expected a proposed one"),
    ):
        baselines.accept(session, 0.0, "ann", found.id or 0)


def test_nothing_happens_while_nothing_moves(watched: Story) -> None:
    watched.inspect(150)
    assert watched.incidents() == []


def test_windows_with_too_few_frames_are_not_looked_at(story: Story) -> None:
    config = DriftConfig(minimum_frames=9)
    with story.services.database.write() as session:
        for n in range(40):
            look(session, 0.0, config, STATION, window(2.0 * n))
        assert baselines.list_baselines(session) == []


def test_one_incident_a_cause_until_it_is_closed(dim: Story) -> None:
    (incident,) = dim.incidents()
    assert (incident.device, incident.cause) == (STATION, "light")
    assert 8 <= incident.parts_until_alarm <= 160
    dim.inspect(30, DIM)
    assert len(dim.incidents()) == 1


def test_a_second_cause_in_the_same_picture_is_told_on_the_open_incident(dim: Story) -> None:
    before = [(incident.id, incident.cause) for incident in dim.incidents()]
    dim.inspect(30, {**DIM, "shift_x": 12.0})
    incidents = dim.incidents()
    assert [(incident.id, incident.cause) for incident in incidents] == before
    assert "camera" in incidents[0].evidence["also"]


def test_the_playbook_goes_from_an_incident_to_a_training_run(dim: Story) -> None:
    parent = dim.add_dataset()
    (command,) = dim.commands()
    assert (command.op, command.count, command.line) == ("sample", 6, LINE)
    names = dim.send_samples(6)
    dim.look()
    assert dim.incidents()[0].state == "labelling"
    dim.label(names[:3])
    dim.look()
    assert dim.incidents()[0].note == "waiting for labels: 3 of 4"
    dim.label(names[3:])
    dim.look()
    (incident,) = dim.incidents()
    assert incident.state == "training"
    with dim.services.database.read() as session:
        run = session.exec(select(TrainingRun)).one()
        version = labels.load_dataset(session, dim.services.store, run.dataset)
        assert find_line(session, LINE).dataset == run.dataset == incident.dataset
        acts = [entry.action for entry in session.exec(select(AuditEntry))]
        assert verify(session).whole
    assert (run.incident, run.state, version.parent) == (incident.id, "queued", parent)
    assert len(version.items) == 8
    fresh = [item for item in version.items if item.slices.get("incident")]
    assert {item.slices["station"] for item in fresh} == {STATION}
    steps = [act for act in acts if act.startswith(("incident.", "dataset.", "run."))]
    assert steps == [
        "incident.open", "incident.sampling", "dataset.add", "incident.labelling",
        "dataset.add", "run.queue", "incident.training",
    ]  # fmt: skip


def test_a_run_that_ends_moves_its_incident(dim: Story) -> None:
    dim.add_dataset()
    dim.label(dim.send_samples(6))
    dim.look()
    dim.look()
    dim.look()
    config = dim.services.config.runs
    with dim.services.database.write() as session:
        run = runs.lease(session, dim.clock.time(), config, "w")
        assert run is not None
        outcome = runs.Outcome(True, "b" * 64, {"decision": "better"}, {}, "")
        runs.finish(session, dim.clock.time(), run.id, "w", outcome)
    dim.look()
    assert dim.incidents()[0].state == "trained"


def test_a_missing_dataset_is_said_and_nothing_is_lost(dim: Story) -> None:
    dim.label(dim.send_samples(6))
    for _ in range(3):
        dim.look()
    (incident,) = dim.incidents()
    assert incident.state == "labelling"
    assert "has no dataset" in incident.note
    dim.add_dataset()
    dim.look()
    assert dim.incidents()[0].state == "training"


def test_a_device_that_is_silent_is_asked_again(dim: Story) -> None:
    with dim.services.database.write() as session:
        device = find_device(session, STATION)
        device.online = True
        session.add(device)
    dim.send_samples(2)
    dim.clock.advance(10)
    dim.look()
    assert len(dim.commands()) == 1
    dim.clock.advance(25)
    dim.look()
    assert [command.count for command in dim.commands()] == [6, 4]


def test_a_closed_false_alarm_counts_against_its_device(dim: Story) -> None:
    (incident,) = dim.incidents()
    with dim.services.database.write() as session:
        playbook.close(session, 0.0, "ann", incident.id or 0, false_alarm=True)
    assert dim.incidents() == []
    with dim.services.database.read() as session:
        assert find_device(session, STATION).false_alarms == 1
    dim.inspect(20, DIM)
    assert len(dim.incidents()) == 1


def test_a_new_normal_is_learned_only_when_a_person_says_so(dim: Story) -> None:
    (incident,) = dim.incidents()
    dim.inspect(40, DIM)
    with dim.services.database.write() as session:
        assert baselines.current(session, STATION, LINE, CAMERA, "proposed") is None
        playbook.close(session, 0.0, "ann", incident.id or 0, rebaseline=True)
    dim.inspect(30, DIM)
    dim.accept()
    dim.inspect(60, DIM)
    assert dim.incidents() == []


def test_each_recipe_has_a_baseline_of_its_own_and_what_ages_is_one_incident(
    watched: Story,
) -> None:
    dark = {"mean": 60.0, "p99": 110.0}
    watched.inspect(30, dark, recipe="black")
    assert watched.accept("black").recipe == "black"
    for _ in range(4):
        watched.inspect(10, dark, recipe="black")
        watched.inspect(10)
    assert watched.incidents() == [], "another product is no drift"
    watched.inspect(20, {name: 0.75 * level for name, level in dark.items()}, recipe="black")
    (incident,) = watched.incidents()
    assert (incident.camera, incident.evidence["recipe"]) == (CAMERA, "black")
    watched.inspect(20, DIM)
    assert len(watched.incidents()) == 1, "the lamp is that of both"
    with watched.services.database.write() as session:
        playbook.close(session, 0.0, "ann", incident.id or 0, rebaseline=True)
    with watched.services.database.read() as session:
        for recipe in ("", "black"):
            assert baselines.current(session, STATION, LINE, CAMERA, recipe=recipe) is None


def test_after_a_swap_the_new_bundles_scores_are_learned_anew(watched: Story) -> None:
    other = "c" * 64
    watched.inspect(29, {"score": 0.6}, digest=other)
    with watched.services.database.read() as session:
        accepted = baselines.current(session, STATION, LINE, CAMERA)
        assert accepted is not None
        assert accepted.score_digest == "a" * 64
    watched.inspect(20, {"score": 0.6}, digest=other)
    assert watched.incidents() == []
    with watched.services.database.read() as session:
        accepted = baselines.current(session, STATION, LINE, CAMERA)
        assert accepted is not None
        assert accepted.score_digest == other
        assert accepted.scores["score"][0] == pytest.approx(0.6, abs=0.01)
    watched.inspect(40, {"score": 0.2}, digest=other)
    assert [incident.cause for incident in watched.incidents()] == ["model"]


def test_a_restart_between_two_windows_changes_nothing(
    services: Services, clock: ManualClock
) -> None:
    story = Story(services, clock)
    story.inspect(30)
    story.accept()
    story.inspect(8, DIM)
    # Other rules over the same database: what a new process would begin with.
    story._ticks = {tick.name: tick for tick in core_ticks(services)}
    story.inspect(8, DIM)
    (incident,) = story.incidents()
    assert incident.cause == "light"
    assert json.dumps(incident.evidence)
