"""station.toml: a mistake names the file, the key, and what is right."""

import re
from pathlib import Path
from typing import get_args

import pytest

from edge_agent.config import StationConfig, load_config, tables
from edge_agent.example import EXAMPLE
from edge_agent.section import Section
from edge_agent.source.settings import FolderSource, LineCameraSource
from fleet_contract.errors import ConfigError
from tests.support.imports import ROOT

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


CAMERAS = (ROOT / "docs" / "how-to" / "connect-a-camera.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```", CAMERAS, re.MULTILINE | re.DOTALL)


def test_every_example_of_a_camera_is_a_configuration(tmp_path: Path) -> None:
    stations = [
        load_config(write(tmp_path, MINIMAL.partition("[source]")[0] + block)) for block in BLOCKS
    ]
    live = {"v4l2", "rtsp", "mjpeg", "gige"}
    assert {one.source.kind for one in stations} == live | {"push", "folder", "video"}
    kinds = {one.trigger.kind for one in stations}
    assert kinds == {"free", "camera", "http", "mqtt", "modbus", "gpio"}


def test_the_page_on_cameras_names_every_kind() -> None:
    for name in ("source", "trigger"):
        for table in tables(StationConfig.model_fields[name].annotation):
            (kind,) = get_args(table.model_fields["kind"].annotation)
            assert f"| `{kind}` |" in CAMERAS


@pytest.mark.parametrize(
    ("source", "trigger", "hint"),
    [
        ('kind = "folder"\npath = "x"', 'kind = "http"\nport = 1', "trigger: no trigger: a folder"),
        ('kind = "v4l2"', 'kind = "camera"', "trigger: a trigger that a v4l2 source can have"),
        ('kind = "v4l2"', 'kind = "modbus"\nhost = "x"', "trigger.coil is missing"),
        ('kind = "rtsp"\nurl = "http://x/"', 'kind = "free"', "source.url"),
    ],
)
def test_a_trigger_that_does_not_fit_its_source_is_said(
    tmp_path: Path, source: str, trigger: str, hint: str
) -> None:
    text = f"{MINIMAL.partition('[source]')[0]}[source]\n{source}\n[trigger]\n{trigger}\n"
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert hint in str(caught.value)


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
