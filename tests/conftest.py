"""Fixtures that tests of every package may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.broker import Pki, TestBroker
from tests.support.chromium import launched


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One certificate authority for the whole run."""
    return Pki(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[TestBroker]:
    """A real mosquitto with mutual TLS for the whole run: use device names of your own."""
    made = TestBroker(tmp_path_factory.mktemp("broker"), pki)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for the whole run: while it is open, no test may use asyncio."""
    with launched() as made:
        yield made


@pytest.fixture
def fresh_broker(tmp_path: Path, pki: Pki) -> Iterator[TestBroker]:
    """A broker of one test's own, to be stopped and started at will."""
    made = TestBroker(tmp_path / "broker", pki)
    made.start()
    yield made
    made.stop()
