"""The real server and the real agent: a first bundle beside who judges today, the next on a share of the parts."""

import http.client
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from fleet_contract.archive import digest as archive_digest
from fleet_contract.inference.preprocess import encode_png
from fleet_contract.messages import PartVerdict
from fleet_server.config import BrokerConfig, ServerConfig
from fleet_server.controllers import Controllers, Tick
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.distribution.service import Distribution
from fleet_server.labels.models import Sample
from fleet_server.link.client import MqttPublisher
from fleet_server.link.service import Link
from fleet_server.registry.models import Line
from fleet_server.registry.service import add_device
from fleet_server.releases import service as releases
from fleet_server.rollouts import service as rollouts
from fleet_server.rollouts.controller import Controller
from fleet_server.rollouts.models import GateDecision
from fleet_server.services import Services
from fleet_server.store import Store
from fleet_server.telemetry.models import PartsRow
from fleet_server.trust import setup as trust
from tests.support.broker import TestBroker, free_port
from tests.support.deploy import sign
from tests.support.station import Station
from tests.support.tiny_bundle import TinySpec, solid, tiny_bundle
from tests.support.wait import eventually

DEVICE, LINE = "share-station", "watch-case"
QUICK = {"min_parts_each": 1, "look_every_s": 0.2, "horizon_s": 300}
FIRST = [{"name": "shadow", "min_parts": 5, **QUICK}, {"name": "all", "min_parts": 0, **QUICK}]
NEXT = [
    {"name": "canary", "share": 0.5, "min_parts": 8, **QUICK},
    {"name": "all", "min_parts": 0, **QUICK},
]  # fmt: skip


class Plant:
    """A line whose parts are pushed, and judged by a program until a bundle does."""

    def __init__(self, folder: Path, broker: TestBroker) -> None:
        self.folder, self._numbers = folder / "server", itertools.count(1)
        self._images, self._verdicts = free_port(), free_port()
        self.services = self._server(broker)
        source = (
            f'kind = "push"\nport = {self._images}\n'
            f'[judge]\nkind = "http"\nport = {self._verdicts}\n'
        )
        self.station = Station(
            folder / "station", broker, DEVICE, trust.newest_roots(self.folder), source
        )
        self.station.start()

    def _server(self, broker: TestBroker) -> Services:
        trust.create(self.folder)
        config = ServerConfig(folder=self.folder)
        database = Database(config.database_url)
        upgrade(database)
        broker.credentials("server")
        publisher = MqttPublisher(
            BrokerConfig(host="localhost", port=broker.port), broker.pki.folder
        )
        services = Services(
            config=config, database=database, store=Store(self.folder / "store"),
            publisher=publisher, trust=trust.open_repositories(self.folder),
        )  # fmt: skip
        with database.write() as session:
            session.add(Line(name=LINE))
            certificate = broker.credentials(DEVICE)[0].read_text()
            add_device(session, services.clock.time(), "test", DEVICE, certificate, line=LINE)
        self._link = Link(services, publisher)
        self._link.on_request(Distribution(services).handle)
        self._link.start()
        controller = Controller(services)
        self._controllers = Controllers(services, [Tick("rollouts", 0.2, controller.tick)])
        self._controllers.start()
        return services

    def release(self, **changes: Any) -> str:
        """An approved release."""
        _, archive = tiny_bundle(TinySpec(**changes))
        releases.submit(self.services, "test", archive)
        digest = archive_digest(archive)
        for key in (trust.PIPELINE, trust.APPROVER):
            sign(self.services, digest, (self.folder / "offline" / key).read_bytes())
        return digest

    def start(self, digest: str, stages: list[dict[str, Any]]) -> int:
        """A rollout; its number."""
        now = self.services.clock.time()
        with self.services.database.write() as session:
            return rollouts.start(session, now, "test", digest, {"stages": stages}).id or 0

    def part(self) -> None:
        """Every other part is bad; today's judge sees it, but rejects a good one now and then."""
        number = next(self._numbers)
        name, bad = f"SN-{number}", number % 2
        _post(self._images, "/parts", encode_png(solid(230 if bad else 20)), name)
        said = {"part": name, "verdict": "reject" if bad or number % 20 == 0 else "accept"}
        _post(self._verdicts, "/verdicts", json.dumps(said).encode(), name)

    def completes(self, number: int) -> list[GateDecision]:
        """Parts come until the rollout has ended; its promotions, the first stage's first."""

        def ended() -> bool:
            self.part()
            with self.services.database.read() as session:
                return rollouts.find_rollout(session, number).ended_at is not None

        eventually(ended, 120, "the rollout has ended")
        with self.services.database.read() as session:
            rollout = rollouts.find_rollout(session, number)
            assert rollout.state == "completed", rollout.reason
            made = rollouts.decisions(session, number)[::-1]
        return [one for one in made if one.decision == "promote"]

    def verdicts(self) -> list[PartVerdict]:
        """Every verdict that the server stored."""
        with self.services.database.read() as session:
            rows = list(session.exec(select(PartsRow)))
        return [PartVerdict.model_validate(one) for row in rows for one in row.body]

    def samples(self, candidate: str) -> list[Sample]:
        """Parts that were kept because the candidate saw them otherwise."""
        with self.services.database.read() as session:
            return list(session.exec(select(Sample).where(Sample.candidate_digest == candidate)))

    def close(self) -> None:
        """Ends what was started."""
        self.station.kill()
        self._controllers.stop()
        self._link.stop()
        self.services.database.close()


def _post(port: int, path: str, body: bytes, part: str) -> None:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", path, body, {"X-Part-Id": part})
        assert connection.getresponse().status in (202, 503)
        connection.close()
    except ConnectionRefusedError:
        """The agent is still starting."""


@pytest.fixture
def plant(tmp_path: Path, broker: TestBroker) -> Iterator[Plant]:
    made = Plant(tmp_path, broker)
    yield made
    made.close()


def test_a_line_gets_its_first_bundle_beside_who_judges_today_and_the_next_by_a_share(
    plant: Plant,
) -> None:
    first, second = plant.release(), plant.release(name="two")
    shadow, everywhere = plant.completes(plant.start(first, FIRST))
    assert shadow.numbers["pairs"] > 20
    assert 0 < shadow.numbers["disagreements"] < 5
    assert shadow.numbers["judge_right"] == 0
    assert everywhere.stage == 1
    told = {(one.why, one.digest, one.verdict, one.score) for one in plant.samples(first)}
    assert told == {("disagreement", None, "reject", None)}
    share, everywhere = plant.completes(plant.start(second, NEXT))
    assert share.numbers["share"] == 0.5
    assert share.numbers["canary_parts"] >= 8
    assert share.numbers["control_parts"] > 0
    judged = plant.verdicts()
    unjudged = {(one.verdict, one.reason) for one in judged if one.digest is None}
    assert unjudged == {("no_decision", "model_not_ready")}
    mine = [one for one in judged if one.slot == "candidate"]
    assert {one.digest for one in mine} == {second}
    assert {one.digest for one in judged} == {None, first, second}
    assert {(one.verdict, int(one.external_id[3:]) % 2) for one in mine} == {
        ("reject", 1), ("accept", 0),
    }  # fmt: skip
