"""Answers of a server that means harm, over a real broker: endless ones, and ones that never end."""

import time
from collections.abc import Iterator
from threading import Thread

import pytest

from edge_agent.config import LinkConfig
from edge_agent.link import Link, Listeners
from fleet_contract import topics
from fleet_contract.clock import ManualClock
from fleet_contract.errors import TransferError
from fleet_contract.messages import ResponseHead
from tests.support.broker import TestBroker
from tests.support.client import Peer
from tests.support.wait import eventually

DEVICE = "station-answers"
BLOCK = b"x" * 200_000


class Scene:
    """A device that asks, and a server whose answers a test makes up."""

    def __init__(self, broker: TestBroker, request_timeout: str) -> None:
        certificate, key = broker.credentials(DEVICE)
        config = LinkConfig.model_validate(
            {
                "port": broker.port,
                "ca": broker.ca,
                "cert": certificate,
                "key": key,
                "request_timeout": request_timeout,
            }
        )
        nobody = Listeners(
            lambda: None, lambda _: None, lambda _: None, lambda _: None, lambda: None
        )
        # The certificates are of now.
        self.link = Link(DEVICE, config, nobody, ManualClock(time.time()))
        self.server = Peer(broker, "server").connect()
        self.server.subscribe(f"loupe/v1/dev/{DEVICE}/up/req/+")
        self.link.start()
        eventually(lambda: self.link.online, 10, "the device is connected")
        self.failure = ""

    def ask(self) -> tuple[Thread, str]:
        """The thread of a request that waits, and the request's id."""

        def request() -> None:
            try:
                self.link.metadata("image/timestamp.json")
            except TransferError as error:
                self.failure = str(error)

        thread = Thread(target=request)
        thread.start()
        eventually(lambda: bool(self.server.received), 10, "the server is asked")
        return thread, topics.parse(self.server.received[-1][0]).id

    def answer(self, number: str, block: int, payload: bytes) -> None:
        topic = topics.build("res", device=DEVICE, id=number, n=block)
        self.server.publish(topic, payload)

    def close(self) -> None:
        self.link.stop()
        self.server.close()


@pytest.fixture
def patient(broker: TestBroker) -> Iterator[Scene]:
    """A device that waits longer than what comes takes on its way."""
    made = Scene(broker, "30s")
    yield made
    made.close()


@pytest.fixture
def scene(broker: TestBroker) -> Iterator[Scene]:
    made = Scene(broker, "1s")
    yield made
    made.close()


def test_an_endless_answer_is_given_up_and_not_kept(patient: Scene) -> None:
    asking, number = patient.ask()
    for block in range(1, 100):
        patient.answer(number, block, BLOCK)
    asking.join(60)
    assert "the answer is too long: 168" in patient.failure


def test_an_answer_that_trickles_is_given_up_when_its_time_is_over(scene: Scene) -> None:
    asking, number = scene.ask()
    scene.answer(number, 0, ResponseHead(status=200, length=1000, blocks=1000).encode())
    block = 0
    while asking.is_alive():
        block += 1
        scene.answer(number, block, b"x")
        asking.join(0.05)
    assert "expected an answer within 1 s" in scene.failure
