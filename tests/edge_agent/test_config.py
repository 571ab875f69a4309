"""station.toml: a mistake names the file, the key, and what is right."""

import re
from pathlib import Path

import pytest

from edge_agent.config import StationConfig, load_config, tables
from edge_agent.example import EXAMPLE
from edge_agent.section import Section
from edge_agent.source.settings import FolderSource, LineCameraSource
from fleet_contract.errors import ConfigError

MINIMAL = """
device = "station-1"
[link]
port = 8883
[line]
name = "watch-case"
[source]
kind = "folder"
path = "images"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "station.toml"
    path.write_text(text)
    return path


def test_the_example_is_a_valid_configuration(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, EXAMPLE))
    assert isinstance(config.source, LineCameraSource)
    assert config.windows.length == 60.0
    assert config.data.spool_limit == 256_000_000


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert isinstance(config.source, FolderSource)
    assert config.source.path == tmp_path / "images"
    assert config.link.key == tmp_path / "device.key"


@pytest.mark.parametrize(
    ("wrong", "right", "hints"),
    [
        ("port = 8883", "prot = 8883", ["link.prot", "Did you mean port"]),
        ("port = 8883", 'port = 8883\nkeepalive = "15"', ["link.keepalive", "units"]),
        ('path = "images"', 'path = "images"\nrate = "4m"', ["source.rate", "Hz"]),
        ('name = "watch-case"', 'name = "Watch Case"', ["line.name"]),
        ('device = "station-1"', 'device = "server"', ["device", "reserved"]),
        ('device = "station-1"', "", ["device is missing", "example-config"]),
        ('kind = "folder"', 'kind = "webcam"', ["source", "line_camera"]),
        ("port = 8883", "port = 8883\nport = 8884", ["not TOML"]),
        ("port = 8883", "port = 0", ["link.port"]),
    ],
)
def test_a_mistake_names_file_key_and_what_is_right(
    tmp_path: Path, wrong: str, right: str, hints: list[str]
) -> None:
    path = write(tmp_path, MINIMAL.replace(wrong, right))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for hint in [str(path), *hints]:
        assert hint in str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="example-config"):
        load_config(tmp_path / "none.toml")


def settings(kind: type[Section]) -> set[str]:
    """Names of all settings in a table and in those below it."""
    inner = [table for field in kind.model_fields.values() for table in tables(field.annotation)]
    return set(kind.model_fields).union(*map(settings, inner))


def test_the_example_shows_every_setting() -> None:
    missing = [
        name
        for name in sorted(settings(StationConfig))
        if not re.search(rf"\b{name} =|\[([a-z_]+\.)*{name}\]", EXAMPLE)
    ]
    assert missing == []
