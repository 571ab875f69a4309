"""One small training for all tests of the trainer."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet_contract import archive
from fleet_contract.clock import SystemClock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.manifest import Manifest
from tests.trainer.parts import write_csv
from trainer.build import Builder, Built
from trainer.config import TrainerConfig, parse_config
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

LINE = "discs"
CONFIG = f"""\
[line]
name = "{LINE}"
[input]
width = 64
height = 64
min_side = 32
[train]
network = "light"
width_factor = 0.5
learning_rate = 0.004
synthetic = 0
time_budget = "60s"
epochs = 30
batch = 16
threads = 1
[augment]
gain = [0.85, 1.15]
shift = "2px"
flip = false
[quantize]
calibration_images = 24
[gates]
max_flips = 0.1
"""


@dataclass(frozen=True)
class World:
    """A store with one data set, and the bundle that was trained on it."""

    store: Store
    version: DatasetVersion
    config: TrainerConfig
    built: Built
    folder: Path
    """The bundle, unpacked."""
    manifest: Manifest
    file: Path
    """The bundle, packed."""
    said: list[tuple[float, str]]
    """What the build told its watcher."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with manifest.csv: 80 good parts, 24 of each of two defects."""
    return write_csv(tmp_path_factory.mktemp("data"), good=80, bad=24).parent


@pytest.fixture(scope="session")
def stored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, DatasetVersion]:
    """The data set, imported."""
    store = Store(tmp_path_factory.mktemp("store"))
    return store, import_source(store, data, ImportOptions(LINE))


@pytest.fixture(scope="session")
def world(stored: tuple[Store, DatasetVersion], tmp_path_factory: pytest.TempPathFactory) -> World:
    """Trained, measured and packed."""
    store, version = stored
    config = parse_config(CONFIG, "test")
    said: list[tuple[float, str]] = []

    def watch(share: float, message: str) -> bool:
        said.append((share, message))
        return False

    built = Builder(config, store, version, SystemClock(), watch).build()
    root = tmp_path_factory.mktemp("bundle")
    manifest = archive.unpack(built.archive, root / "unpacked")
    file = root / "discs.tar"
    file.write_bytes(built.archive)
    return World(store, version, config, built, root / "unpacked", manifest, file, said)
