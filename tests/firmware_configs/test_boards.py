"""Facts about the boards' files and what is rendered from them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_configs.render import render
from firmware_configs.schema import BOARDS, find, json_schema, names, read_board_file
from fleet_contract.board import read_board
from fleet_contract.errors import ConfigError
from tests.support.imports import ROOT

GOLDEN = Path(__file__).parent / "golden"
GOOD = (BOARDS / "raspberry-pi-5.toml").read_text()
VERIFY = shutil.which("systemd-analyze")


@pytest.mark.parametrize("name", names())
def test_what_is_rendered_is_what_was_agreed(name: str) -> None:
    """A wanted change is rendered anew into the golden folder, and read."""
    agreed = {path.name: path.read_text() for path in (GOLDEN / name).iterdir()}
    assert render(find(name)) == agreed


@pytest.mark.parametrize("name", names())
def test_the_agent_reads_the_rendered_board(name: str, tmp_path: Path) -> None:
    profile = find(name)
    path = tmp_path / "board.toml"
    path.write_text(render(profile)["board.toml"])
    board = read_board(path)
    assert board.hardware == name
    assert (board.runtime, board.precision) == (
        profile.inference.runtime,
        profile.inference.precision,
    )
    assert (board.threads, board.memory_limit) == (
        profile.inference.threads,
        profile.service.memory_max,
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"600MB"', "600000000", r"service\.memory_max: .*such as '10MB'; found 600000000"),
        ('"600MB"', '"3.5GB"', r"memory_max is 3500000000 bytes, expected at most three quarters"),
        ("threads = 2", "threads = 8", r"inference\.threads is 8, the board has 4 cores"),
        ("threads = 2", "treads = 2", r"inference\.threads: Field required"),
        ("threads = 2", "threads = 2\nboost = 1", r"inference\.boost: Extra inputs"),
        ("threads = 2", "threads = 2\nthreads = 2", r"Cannot overwrite a value"),
        ('"litert"', '"openvino"', r"inference\.runtime: .*'onnx' or 'litert'"),
        ('"aarch64"', '"arm"', r"arch: .*'x86_64' or 'aarch64'"),
        ('"raspberrypi"', '"Raspberry Pi"', r"vendor: .*pattern"),
        ('"30s"', '"30"', r"service\.watchdog: .*units"),
        ('name = "raspberry-pi-5"', 'name = "raspberry-pi-4"', r"another name inside"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "raspberry-pi-5.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=rf"raspberry-pi-5\.toml .*{said}"):
        read_board_file(path)


def test_an_unknown_board_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="raspberry-pi-5, x86-64-box"):
        find("toaster")


def test_the_schema_refuses_unknown_keys_and_wants_units() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Service"]["properties"]["memory_max"]["type"] == "string"


def test_the_schema_beside_the_boards_is_the_models() -> None:
    """After a wanted change: python -m firmware_configs schema > firmware_configs/board.schema.json."""
    assert json.loads((BOARDS.parent / "board.schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("name", names())
def test_telemetry_is_off_and_a_hung_agent_is_restarted(name: str) -> None:
    lines = render(find(name))["loupe-agent.service"].splitlines()
    assert "Environment=ORT_DISABLE_TELEMETRY=1" in lines
    assert "WatchdogSec=30" in lines
    assert "Restart=always" in lines


@pytest.mark.parametrize("name", names())
def test_systemd_understands_every_line_of_the_unit(name: str, tmp_path: Path) -> None:
    # The program need not be installed here; unknown keys leave the exit status at 0.
    assert VERIFY is not None, "systemd-analyze is missing; on Debian `make test` installs it"
    unit = tmp_path / "loupe-agent.service"
    text = render(find(name))["loupe-agent.service"]
    unit.write_text(text.replace("/opt/loupe/bin/loupe-agent", "/bin/true"))
    done = subprocess.run(
        [VERIFY, "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firmware_configs", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_line_lists_shows_and_renders(tmp_path: Path) -> None:
    assert "x86-64-box" in run("list").stdout
    assert json.loads(run("show", "x86-64-box").stdout)["arch"] == "x86_64"
    assert json.loads(run("schema").stdout)["title"] == "BoardFile"
    assert run("render", "x86-64-box", "--out", str(tmp_path / "new")).returncode == 0
    assert read_board(tmp_path / "new" / "board.toml").hardware == "x86-64-box"


def test_the_command_line_says_a_mistake_in_one_message() -> None:
    done = run("show", "toaster")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "no board is called 'toaster'" in done.stderr
