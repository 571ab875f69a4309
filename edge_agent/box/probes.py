"""What `doctor` looks at: each probe touches one thing and says what is wrong with it, '' for nothing."""

import itertools
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import BUILD_TIME_S
from edge_agent.box.client import live_state
from edge_agent.box.records import DATABASE, owner, records
from edge_agent.config import StationConfig
from edge_agent.connection import tls_context
from edge_agent.health import clock_synchronised
from edge_agent.output.settings import GpioOutput, HttpOutput, JsonlOutput, OutputConfig
from edge_agent.source.base import CameraLost, Captured, CounterRestarted, FrameCounts, Source
from edge_agent.source.make import make_source
from edge_agent.source.settings import PushSource, SourceConfig
from edge_agent.state import device_key
from edge_agent.trigger.settings import FreeTrigger, ModbusTrigger
from edge_agent.trusted_time import TrustedTime
from edge_agent.update.bundles import BundleStore
from fleet_contract import archive
from fleet_contract.board import read_board
from fleet_contract.clock import SystemClock
from fleet_contract.errors import ConfigError, DataError, LoupeError
from fleet_contract.inference.preprocess import check_frame
from fleet_contract.inference.runtime import PACKAGES, installed
from fleet_contract.manifest import Manifest
from fleet_contract.names import Slot

__all__ = ["clock_synchronised", "owner"]

OLDEST_S = BUILD_TIME_S
_ANSWER_S = 5.0
_FRAME_S = 8.0
_UNIT = "loupe-agent.service"


def now_s() -> float:
    """Seconds since 1970, as this machine has them."""
    return time.time()


def clock_trouble(station: StationConfig) -> str:
    """What is certainly wrong with the clock, by what was verified here and the device's certificate."""
    folder = station.data.folder / "trust"
    return TrustedTime(SystemClock(), folder, BUILD_TIME_S, station.link.cert).trouble


def certificate(station: StationConfig) -> tuple[str, float]:
    """Name and end (seconds since 1970) of the device's certificate. Raises ConfigError."""
    device_key(station.device, station.link)
    tls_context(station.link)
    found = x509.load_pem_x509_certificate(station.link.cert.read_bytes())
    return station.device, found.not_valid_after_utc.timestamp()


def broker(station: StationConfig) -> str:
    """Connects as this device, which ends the connection of its agent where one runs."""
    link, answers, answered = station.link, list[str](), threading.Event()
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=station.device, protocol=MQTTv311,
        reconnect_on_failure=False,
    )  # fmt: skip
    client.tls_set_context(tls_context(link))
    client.connect_timeout = _ANSWER_S

    def done(_client: Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        answers.append(str(code) if code.is_failure else "")
        answered.set()

    client.on_connect = done
    client.on_disconnect = done
    try:
        client.connect(link.host, link.port)
    except ssl.SSLError as error:
        return f"TLS fails: {error.reason or error}"
    except OSError as error:
        return f"cannot be reached: {error}"
    client.loop_start()
    answered.wait(_ANSWER_S)
    client.disconnect()
    client.loop_stop()
    if not answers:
        return "does not answer"
    return f"refuses this device: {answers[0]}" if answers[0] else ""


def free_bytes(folder: Path) -> int:
    """Free space where `folder` lies, or will."""
    return shutil.disk_usage(_existing(folder)).free


def not_writable(folder: Path) -> str:
    """Writes and removes a file."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    return ""


def filesystem(folder: Path) -> str:
    """Type of the file system, by /proc/mounts; '' where it is not listed."""
    place, best = str(_existing(folder).resolve()), ("", "")
    for line in Path("/proc/mounts").read_text().splitlines():
        mount, kind = line.split()[1:3]
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) > len(best[0]):
            best = (mount, kind)
    return best[1]


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def other_configuration(process: int, config: Path) -> str:
    """The configuration by which a process runs, where it is another than `config`."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
        folder = Path(f"/proc/{process}/cwd").readlink()
    except OSError:
        return ""
    named = next((value for word, value in itertools.pairwise(words) if word == "--config"), "")
    path = (folder / named).resolve()
    return "" if not named or path == config.resolve() else str(path)


def live(station: StationConfig) -> dict[str, Any] | None:
    """The running agent's own word."""
    return live_state(station.data.folder)


def camera(station: StationConfig) -> str:
    """Opens each camera, takes one frame, and holds it against what the active bundle takes."""
    manifest = _active_manifest(station)
    troubles = {one.camera: _camera(one, manifest) for one in (station.source, *station.cameras)}
    told = [f"{name}: {trouble}" for name, trouble in troubles.items() if trouble]
    return "; ".join(told if station.cameras else filter(None, troubles.values()))


def _camera(config: SourceConfig, manifest: Manifest | None) -> str:
    # Whatever the trigger is, the line may rest: every frame will do.
    try:
        source = make_source(config, FreeTrigger(), SystemClock(), FrameCounts(), _silent)
    except LoupeError as error:
        return str(error)
    try:
        if isinstance(config, PushSource):
            return ""
        source.start(None)
        return _frame(source, manifest)
    finally:
        source.close()


def _silent(_kind: str, _text: str, _severity: str) -> None:
    """Nobody listens to a probe's events."""


def _frame(source: Source, manifest: Manifest | None) -> str:
    trouble, until = "no frame came", time.monotonic() + _FRAME_S
    while time.monotonic() < until:
        try:
            captured: Captured | None = source.next(0.5)
        except (CameraLost, CounterRestarted) as error:
            trouble = str(error)
            time.sleep(0.2)
            continue
        if captured is not None and captured.frame is not None:
            try:
                if manifest is not None:
                    check_frame(captured.frame, manifest.input)
            except DataError as error:
                return str(error)
            return ""
    return trouble


def runtime(station: StationConfig) -> str:
    """Whether the board's runtime is installed."""
    board = read_board(station.board.file)
    if installed(board.runtime):
        return ""
    wanted = " or ".join(PACKAGES[board.runtime])
    return f"the board wants {board.runtime}, but the package {wanted} is not installed"


def model(station: StationConfig) -> str | None:
    """What judges, in words; None where no bundle is active. Raises LoupeError for a damaged one."""
    manifest, board = _active_manifest(station), read_board(station.board.file)
    if manifest is None:
        return None
    found = manifest.models_for(board.runtime, board.precision)
    if "*" not in manifest.hardware and board.hardware not in manifest.hardware:
        raise ConfigError(
            "the active bundle is not for this board", expected=", ".join(manifest.hardware),
            found=board.hardware, remedy="Render board.toml for the board that this is.",
        )  # fmt: skip
    unknown = unknown_recipes(station, manifest.decision.recipes)
    if unknown:
        raise ConfigError(
            f"the active bundle does not know recipes that are named here: {', '.join(unknown)}",
            expected=", ".join(sorted(manifest.decision.recipes)) or "none",
            remedy="Correct [part], [recipes] or [trigger], or add them where the line is trained.",
        )
    return f"{len(found)} for {board.runtime}/{board.precision}, every file as it was signed"


def unknown_recipes(station: StationConfig, known: Collection[str]) -> list[str]:
    """What the configuration names, by trigger and view, and the bundle has no limits for."""
    named = set(station.recipes)
    if isinstance(station.trigger, ModbusTrigger):
        named |= set(station.trigger.recipes.values())
    plan = station.plan
    wanted = {
        plan.recipe(view, recipe) for view in range(len(plan.views)) for recipe in named or {""}
    }
    return sorted(wanted - {""} - set(known))


def _active_manifest(station: StationConfig) -> Manifest | None:
    if not (station.data.folder / DATABASE).exists():
        return None
    with records(station) as durable:
        active = durable.slots.get(station.line.name, Slot.ACTIVE)
    if active is None:
        return None
    store = BundleStore(station.data.folder, station.data.disk_reserve)
    return archive.load_folder(store.folder(active.digest))


def sizes(station: StationConfig) -> tuple[bool, bool]:
    """Whether the active bundle limits sizes, and whether it brings the scale for all of them.

    Raises LoupeError for a damaged one.
    """
    manifest = _active_manifest(station)
    if manifest is None:
        return False, True
    return bool(manifest.decision.sized), not manifest.decision.needs_scale


def service() -> str:
    """Whether systemd knows the agent, and watches it."""
    program = shutil.which("systemctl")
    if program is None:
        return "this machine has no systemd: nobody starts the agent again"
    done = subprocess.run(
        [program, "show", _UNIT, "-p", "LoadState,UnitFileState,WatchdogUSec"],
        capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    facts = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if facts.get("LoadState") != "loaded":
        return f"systemd knows no {_UNIT}"
    if facts.get("UnitFileState") not in ("enabled", "enabled-runtime"):
        return f"{_UNIT} does not start with the machine"
    if facts.get("WatchdogUSec", "0") in ("0", "infinity"):
        return f"{_UNIT} has no WatchdogSec: an agent that hangs stays so"
    return ""


def outputs(station: StationConfig) -> list[str]:
    """Tries each output's address."""
    found = [_output(one) for one in station.outputs]
    return [trouble for trouble in found if trouble]


def _output(output: OutputConfig) -> str:
    if isinstance(output, JsonlOutput):
        return not_writable(output.file.parent)
    if isinstance(output, GpioOutput):
        chip = Path(output.chip)
        there = chip.exists() and os.access(chip, os.R_OK | os.W_OK)
        return "" if there else f"gpio {chip} is not there, or may not be opened"
    if isinstance(output, HttpOutput):
        url = urlsplit(output.url)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    else:
        host, port = output.host, output.port
    try:
        socket.create_connection((host, port), timeout=_ANSWER_S).close()
    except OSError as error:
        return f"{output.kind} {host}:{port} cannot be reached: {error}"
    return ""
