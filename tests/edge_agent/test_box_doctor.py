"""Each of the commonest faults is found, and its remedy told."""

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_agent.box import probes
from edge_agent.box.doctor import CHECKS, Finding, examine
from edge_agent.cli import app
from fleet_contract.inference.runtime import PACKAGES
from fleet_contract.names import Runtime
from fleet_contract.trust.floor import Floors, write_floors
from tests.support.broker import TestBroker, free_port
from tests.support.scene import Scene
from tests.support.station import Station

_folders = (f"station-{n}" for n in itertools.count(1))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, broker: TestBroker) -> Iterator[Scene]:
    """One server for all tests here; each has a station of its own."""
    made = Scene(tmp_path_factory.mktemp("doctor"), broker)
    yield made
    made.close()


def told(station: Station, *words: str) -> Result:
    """What a command prints."""
    return CliRunner().invoke(app, [*words, "--config", str(station.config)])


def change(station: Station, old: str, new: str) -> None:
    text = station.config.read_text()
    assert old in text
    station.config.write_text(text.replace(old, new, 1))


def found(station: Station, check: str) -> Finding:
    return next(finding for finding in examine(station.config) if finding.check == check)


def fault(station: Station, check: str, *words: str) -> None:
    """That check, and it alone of those that are certain, finds a fault that says `words`."""
    finding = found(station, check)
    assert finding.grade == "fault", finding
    assert finding.remedy
    for word in words:
        assert word in f"{finding.text} {finding.remedy}"


def test_a_station_that_is_right_has_no_fault(world: Scene) -> None:
    station = world.station(next(_folders))
    done = told(station, "doctor", "--json")
    findings = json.loads(done.stdout.splitlines()[-1])["findings"]
    assert [f for f in findings if f["grade"] == "fault"] == []
    assert done.exit_code == 0
    assert {f["check"] for f in findings} == {"configuration", "agent", *CHECKS}
    grades = {f["check"]: f["grade"] for f in findings}
    assert (grades["broker"], grades["camera"], grades["certificate"]) == ("ok", "ok", "ok")
    assert (grades["agent"], grades["model"]) == ("warning", "warning")


def test_a_fault_is_told_with_its_remedy_and_an_exit_code(world: Scene) -> None:
    station = world.station(next(_folders))
    change(station, "[line]", "[lime]")
    done = told(station, "doctor")
    assert done.exit_code == 1
    assert done.stdout.startswith("fault   configuration:")
    assert "lime is no setting" in done.stdout
    assert "Did you mean line?" in done.stdout
    assert len(examine(station.config)) == 1


def test_a_certificate_that_is_missing_ended_or_another_devices(
    world: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = world.station(next(_folders))
    now = probes.now_s()
    monkeypatch.setattr(probes, "now_s", lambda: now + 30 * 365 * 86400)
    fault(station, "certificate", "ended", "device add")
    monkeypatch.undo()
    change(station, f'device = "{world.device}"', 'device = "somebody-else"')
    fault(station, "certificate", world.device)
    (station.folder / "device.crt").unlink()
    fault(station, "certificate", "device.crt")


def test_a_broker_that_is_not_there_or_is_another_servers(world: Scene) -> None:
    station = world.station(next(_folders))
    nobody = free_port()
    change(station, f"port = {world.broker.port}", f"port = {nobody}")
    fault(station, "broker", "cannot be reached")
    change(station, f"port = {nobody}", f"port = {world.broker.port}")
    shutil.copy(world.broker.credentials("server")[0], station.folder / "ca.crt")
    fault(station, "broker", "TLS fails")


def test_a_clock_in_1970_and_one_that_nobody_sets(
    world: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = world.station(next(_folders))
    monkeypatch.setattr(probes, "clock_synchronised", lambda: False)
    assert found(station, "clock").grade == "warning"
    assert "not synchronised" in found(station, "clock").text
    trust = station.folder / "data" / "trust"
    trust.mkdir(parents=True)
    write_floors(trust, Floors(time_s=time.time() + 10 * 86400))
    fault(station, "clock", "has certainly been", "Set the clock")
    monkeypatch.setattr(probes, "now_s", lambda: 0.0)
    fault(station, "clock", "before this version was made", "Set the clock")


def test_a_disk_that_is_nearly_full(world: Scene) -> None:
    station = world.station(next(_folders))
    change(station, 'disk_reserve = "1MB"', 'disk_reserve = "900000GB"')
    fault(station, "disk", "MB free", "Free space")


def test_a_data_folder_that_cannot_be_written_or_is_in_memory(world: Scene) -> None:
    station = world.station(next(_folders))
    change(station, "[data]", '[data]\nfolder = "device.key/data"')
    fault(station, "data folder", "cannot be written")
    change(station, "device.key/data", "/dev/shm/loupe-data")
    fault(station, "data folder", "in memory (tmpfs)", "Set data.folder to a disk")


def test_a_camera_that_is_away(world: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    station = world.station(next(_folders))
    monkeypatch.setattr(probes, "_FRAME_S", 0.5)
    text = station.config.read_text()
    url = text.split('url = "')[1].split('"')[0]
    change(station, url, f"http://127.0.0.1:{free_port()}")
    fault(station, "camera", "refused", "cable")


def test_a_runtime_that_is_not_installed(world: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    station = world.station(next(_folders))
    monkeypatch.setitem(PACKAGES, Runtime.ONNX, ("no_such_runtime",))
    fault(station, "model", "no_such_runtime is not installed")


def test_an_output_whose_peer_does_not_answer(world: Scene) -> None:
    station = world.station(next(_folders))
    with station.config.open("a") as file:
        file.write('[[outputs]]\nkind = "modbus"\nhost = "127.0.0.1"\n')
        file.write(f"port = {free_port()}\n")
        file.write('[[outputs]]\nkind = "gpio"\nchip = "/dev/gpiochip99"\naccept = 1\nreject = 2\n')
    fault(station, "outputs", "modbus 127.0.0.1", "gpio /dev/gpiochip99", "[[outputs]]")


UNIT = """#!/bin/sh
echo LoadState={load}
echo UnitFileState={enabled}
echo WatchdogUSec={watchdog}
"""


@pytest.mark.parametrize(
    ("load", "enabled", "watchdog", "words"),
    [
        ("not-found", "", "infinity", "knows no"),
        ("loaded", "disabled", "10s", "does not start with the machine"),
        ("loaded", "enabled", "0", "no WatchdogSec"),
        ("loaded", "enabled", "10s", ""),
    ],
)
def test_a_unit_that_is_absent_or_does_not_watch(
    load: str, enabled: str, watchdog: str, words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    program = tmp_path / "systemctl"
    program.write_text(UNIT.format(load=load, enabled=enabled, watchdog=watchdog))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (words in probes.service()) if words else (probes.service() == "")
