"""Fixtures of a whole station."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import TestBroker
from tests.support.scene import Scene


@pytest.fixture
def scene(tmp_path: Path, broker: TestBroker) -> Iterator[Scene]:
    """On the broker of the whole run."""
    made = Scene(tmp_path, broker)
    yield made
    made.close()


@pytest.fixture
def own_scene(tmp_path: Path, fresh_broker: TestBroker) -> Iterator[Scene]:
    """On a broker that the test may stop."""
    made = Scene(tmp_path, fresh_broker)
    yield made
    made.close()
