"""A bundle trained again: the same bit for bit, or how far apart."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fleet_contract import archive
from fleet_contract.clock import SystemClock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import BundleError, ConfigError
from tests.trainer.conftest import CONFIG, World
from trainer.build import Builder
from trainer.cli import app
from trainer.config import parse_config
from trainer.data.store import Store
from trainer.reproduce import Answer, Reproduction, Tolerance, reproduce, what_differs
from trainer.runs.facts import FACTS, SHARES, how_trained
from trainer.weights import weights_name

RUNNER = CliRunner()
TOLERANCE = Tolerance(score=0.2, auroc=0.05)


@dataclass
class HastyClock(SystemClock):
    """Runs ahead at each look, so that time, not the steps, ends a training; never twice alike."""

    looks: int = 0

    def monotonic(self) -> float:
        self.looks += 1
        return super().monotonic() + self.looks * 0.3


def quiet(_share: float, _message: str) -> bool:
    return False


@pytest.fixture(scope="module")
def hurried(stored: tuple[Store, DatasetVersion]) -> bytes:
    """A bundle whose training the clock ended."""
    store, version = stored
    config = parse_config(CONFIG.replace('"60s"', '"40s"'), "test")
    return Builder(config, store, version, HastyClock(), quiet).build().archive


@pytest.fixture(scope="module")
def again(hurried: bytes, stored: tuple[Store, DatasetVersion]) -> Reproduction:
    return reproduce(hurried, stored[0], TOLERANCE, quiet, SystemClock())


def test_a_training_that_the_clock_ended_comes_out_bit_for_bit(
    hurried: bytes, again: Reproduction
) -> None:
    trained = how_trained(archive.read(hurried)[1])
    assert trained.facts.schedule == "recorded"
    assert again.answer is Answer.SAME
    assert weights_name(0) in again.files
    assert len(again.files) == 5
    assert all(again.files.values())
    assert again.differs == {}


def test_without_its_schedule_nobody_knows_the_steps_of_such_a_training(hurried: bytes) -> None:
    _, files = archive.read(hurried)
    facts = json.loads(files[FACTS])
    del files[SHARES]
    files[FACTS] = json.dumps({**facts, "schedule": "unknown"}).encode()
    assert how_trained(files).shares is None


def test_scores_beyond_the_tolerance_are_called_different(
    world: World, hurried: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the same parts, but trained for another time.
    monkeypatch.setattr("trainer.reproduce._train", lambda *_: hurried)
    exact = Tolerance(0.0, 0.0)
    found = reproduce(world.built.archive, world.store, exact, quiet, SystemClock())
    assert found.answer is Answer.DIFFERENT
    assert found.score is not None
    assert found.score > 0
    assert not found.files[weights_name(0)]


def test_other_weights_within_the_tolerance_are_called_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As another processor would: every weight a little otherwise.
    monkeypatch.setattr("trainer.reproduce._train", lambda *_: nudged(world.built.archive))
    found = reproduce(world.built.archive, world.store, TOLERANCE, quiet, SystemClock())
    assert found.answer is Answer.WITHIN
    assert found.score == 0.0


def nudged(data: bytes) -> bytes:
    """The bundle with other bytes of weights, and models that say the same."""
    manifest, files = archive.read(data)
    files[weights_name(0)] += b"\0"
    return archive.pack(manifest.model_copy(update={"files": archive.file_entries(files)}), files)


def test_the_command_answers_by_its_exit_status(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made, status, answer in (
        (world.built.archive, 0, "same"), (nudged(world.built.archive), 1, "within_tolerance"),
    ):  # fmt: skip
        monkeypatch.setattr("trainer.reproduce._train", lambda *_, made=made: made)
        result = RUNNER.invoke(
            app, ["reproduce", str(world.file), "--store", str(world.store.folder), "--json"]
        )
        assert result.exit_code == status, result.output
        assert json.loads(result.stdout)["answer"] == answer


def test_a_bundle_that_went_on_from_a_champion_asks_for_it(
    world: World, stored: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    manifest, files = archive.read(world.built.archive)
    facts = json.loads(files[FACTS])
    files[FACTS] = json.dumps({**facts, "start": "c" * 64}).encode()
    data = archive.pack(manifest.model_copy(update={"files": archive.file_entries(files)}), files)
    with pytest.raises(ConfigError, match="bundle cccccccccccc; found none"):
        reproduce(data, stored[0], TOLERANCE, quiet, SystemClock())
    path = tmp_path / "b.tar"
    path.write_bytes(data)
    result = RUNNER.invoke(app, ["reproduce", str(path), "--store", str(stored[0].folder)])
    assert "--champion" in str(result.exception)


def test_what_is_not_as_it_was_is_named(world: World) -> None:
    facts = how_trained(archive.read(world.built.archive)[1]).facts
    assert what_differs(facts) == {}
    older = facts.model_copy(update={"environment": {**facts.environment, "torch": "1.0"}})
    assert what_differs(older)["torch"][0] == "1.0"


def test_a_broken_schedule_is_refused(hurried: bytes) -> None:
    _, files = archive.read(hurried)
    with pytest.raises(BundleError, match=r"shares\.npz cannot be read"):
        how_trained({**files, SHARES: b"nothing"})


def test_shares_grow_and_end_the_training(hurried: bytes) -> None:
    shares = how_trained(archive.read(hurried)[1]).shares
    assert shares is not None
    assert np.all(np.diff(shares[0]) > 0)
    assert shares[0][-1] == 1.0
