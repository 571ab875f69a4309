"""The world of the story: folders, keys, configuration, processes.

Everything lies in one folder: `server/`, `stations/NAME/`, `trainer/`, `data/`, `logs/`. The folder
is made anew by each run; a lock refuses a second run in it.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fleet_contract.errors import ResourceError
from hil.camera.client import Bench
from hil.story import interrupt
from hil.story.api import Api, StoryError, until
from hil.story.narrate import Narrator
from hil.story.processes import Child, Supervisor, die_with_parent, tail
from hil.story.settings import LINE, STATIONS, Settings

T = TypeVar("T")
_MARK = ".loupe-story"
_LOCK = "story.lock"
LITERT_STATION = "station-3"
"""Runs the other runtime, on the board that prefers it."""


@dataclass
class Station:
    """One station: camera and agent."""

    name: str
    folder: Path
    camera_port: int
    bench_port: int
    camera: Child
    agent: Child
    bench: Bench


@dataclass
class World:
    """What the acts of the story work with."""

    folder: Path
    settings: Settings
    supervisor: Supervisor
    api: Api
    narrator: Narrator
    broker_port: int
    http_port: int
    stations: dict[str, Station] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """Bundles by their part in the story: champion, challenger, ..."""
    marks: dict[str, int] = field(default_factory=dict)
    """Trigger numbers at which something was done to a camera."""

    @property
    def server(self) -> Path:
        """The server's folder."""
        return self.folder / "server"

    @property
    def offline(self) -> Path:
        """The keys that the server never holds."""
        return self.server / "offline"

    @property
    def store(self) -> Path:
        """The trainer's dataset store."""
        return self.folder / "trainer"

    def command(self, *words: str) -> str:
        """Runs one of our programs to its end; returns what it printed.

        Raises StoryError with its own message where it fails.
        """
        with subprocess.Popen(
            [program(words[0]), *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        ) as process:
            output, errors = _communicate(process)
        with (self.folder / "logs/commands.log").open("a") as log:
            log.write(f"$ {' '.join(words)}\n{output}{errors}")
        if process.returncode:
            raise StoryError(
                f"`{' '.join(words[:3])}` failed with status {process.returncode}",
                found=(errors or output).strip()[-1500:],
            )
        return output

    def task(self, name: str, *words: str) -> Child:
        """Starts one of our programs beside everything else; `finish` waits for it."""
        return self.supervisor.start(name, [program(words[0]), *words[1:]], once=True)

    def finish(self, task: Child, patience_s: float) -> str:
        """What the task printed, once it has ended. Raises StoryError where it failed."""

        def ended() -> bool:
            return task.process is None or task.process.poll() is not None

        self.wait(f"{task.name} has ended", ended, patience_s=patience_s)
        if task.process is None or task.process.returncode:
            raise StoryError(f"{task.name} failed", found=tail(task.log))
        return task.log.read_text()

    def wait(
        self,
        what: str,
        look: Callable[[], T | None],
        *,
        patience_s: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> T:
        """Looks until `look` gives something true, and shows what is waited for.

        `meanwhile` runs between two looks (unless said: are all processes alive?). Raises StoryError
        after `patience_s`.
        """
        with self.narrator.waiting(what):
            return until(
                what,
                look,
                patience_s=patience_s or self.settings.patience_s,
                meanwhile=meanwhile or self.check_alive,
            )

    def check_alive(self) -> None:
        """Raises StoryError where a process that should run has ended."""
        for child in self.supervisor.ended():
            status = child.process.poll() if child.process else None
            raise StoryError(f"{child.name} ended with status {status}", found=tail(child.log))

    def close(self) -> None:
        """Ends every process."""
        for station in self.stations.values():
            station.bench.close()
        self.api.close()
        self.supervisor.stop_all()


def _communicate(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Output and errors, once the process has ended; it is killed where the story is interrupted."""
    while True:
        try:
            interrupt.check()
            return process.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:
            process.kill()
            raise


def program(name: str) -> str:
    """Path of one of our programs: beside the interpreter that runs the story."""
    return str(Path(sys.executable).parent / name)


def find_broker() -> str:
    """Path of mosquitto. Raises ResourceError that says how to get it."""
    # Debian puts it where only root's PATH looks.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise ResourceError(
            "mosquitto is not installed, and the stations' messages go through it",
            remedy="On Debian and Ubuntu `make demo` installs it; elsewhere install it first.",
        )
    return found


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there, any free port for 0. Raises ResourceError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise ResourceError(
                f"port {wanted} on 127.0.0.1 is in use",
                remedy="Stop what uses it (is another demo running?), or choose another: "
                "`make demo PORT=8490`.",
            ) from error
        return int(probe.getsockname()[1])


def lock_folder(folder: Path) -> int:
    """Takes the folder for this run and empties it; returns the lock's descriptor.

    Raises ResourceError where another run holds it, or where it holds something else than a story.
    """
    folder.mkdir(parents=True, exist_ok=True)
    strange = [path.name for path in folder.iterdir()]
    if strange and not (folder / _MARK).exists():
        raise ResourceError(
            f"{folder} holds something else than a story",
            found=", ".join(sorted(strange)[:3]),
            remedy="Name an empty or a new folder with --dir.",
        )
    (folder / _MARK).touch()
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ResourceError(
            f"another story runs in {folder}", remedy="End it with Ctrl-C, or use --dir."
        ) from error
    for path in folder.iterdir():
        if path.name not in (_MARK, _LOCK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "logs").mkdir()
    return descriptor


def open_world(folder: Path, settings: Settings, port: int, narrator: Narrator) -> World:
    """A story's world in `folder`, which must be empty but for `logs/`; nothing runs in it yet."""
    broker_port, http_port = free_port(), free_port(port)
    api = Api(f"http://127.0.0.1:{http_port}")
    return World(
        folder, settings, Supervisor(folder / "logs"), api, narrator, broker_port, http_port
    )


def start_server(world: World) -> None:
    """Starts broker and server; `await_server` waits until they are up."""
    server = str(world.server)
    world.command(
        "loupe-server", "init", server,
        "--http-port", str(world.http_port), "--broker-port", str(world.broker_port),
    )  # fmt: skip
    configure_server(world)
    start = world.supervisor.start
    start("broker", [find_broker(), "-c", str(world.server / "broker" / "mosquitto.conf")])
    start("server", [program("loupe-server"), "run", "--dir", server])


def await_server(world: World) -> None:
    """Returns when the server answers."""
    world.wait("the server answers", world.api.healthy, patience_s=60)


def configure_server(world: World) -> None:
    """Spans of the story in the server's configuration."""
    path = world.server / "server.toml"
    wanted = f"baseline_windows = {world.settings.baseline_windows}"
    path.write_text(path.read_text().replace("baseline_windows = 30", wanted))


def add_device(world: World, name: str, line: str, board: str) -> Path:
    """A device's identity, trust roots and board file; returns its folder."""
    folder = world.folder / "stations" / name
    world.command(
        "loupe-server", "device", "add", name, "--line", line,
        "--server", str(world.server), "--out", str(folder),
    )  # fmt: skip
    world.command("python", "-m", "firmware_configs", "render", board, "--out", str(folder))
    return folder


def start_agent(world: World, name: str, folder: Path) -> Child:
    """The agent of the device in `folder`, started again whenever it ends."""
    return world.supervisor.start(
        f"{name}-agent",
        [program("loupe-agent"), "run", "--config", str(folder / "station.toml")],
        restart=True,
    )


def start_stations(world: World) -> None:
    """The three stations; their cameras stand still."""
    for name in STATIONS:
        world.stations[name] = _start_station(world, name)


def _start_station(world: World, name: str) -> Station:
    settings = world.settings
    board = "raspberry-pi-5" if name == LITERT_STATION else settings.board
    folder = add_device(world, name, LINE, board)
    camera_port, bench_port = free_port(), free_port()
    camera = world.supervisor.start(
        f"{name}-camera",
        [program("loupe-hil"), "camera", "--port", str(camera_port),
         "--bench-port", str(bench_port), "--camera", "cam-1",
         "--seed", str(settings.seeds[name]), "--rate", str(settings.rate_hz),
         "--defect-rate", str(settings.defect_rate), "--buffer", "256", "--paused"],
    )  # fmt: skip
    config = station_config(name, world.broker_port, camera_port, settings)
    (folder / "station.toml").write_text(config)
    agent = start_agent(world, name, folder)
    bench = Bench(f"http://127.0.0.1:{bench_port}")
    world.wait(f"the camera of {name} answers", lambda: _answers(camera_port), patience_s=30)
    return Station(name, folder, camera_port, bench_port, camera, agent, bench)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/info", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def station_config(name: str, broker_port: int, camera_port: int, settings: Settings) -> str:
    """`station.toml` of one station."""
    return f"""\
device = "{name}"
heartbeat = "5s"

[link]
host = "127.0.0.1"
port = {broker_port}
ack_timeout = "3s"

[trust]
refresh = "10s"

[line]
name = "{LINE}"
deadline = "2s"

[source]
kind = "line_camera"
url = "http://127.0.0.1:{camera_port}"

[[outputs]]
kind = "jsonl"

[windows]
length = "{settings.window_s:g}s"
sample_rate = "10Hz"

[samples]
rejects_per_hour = 60
near_per_hour = 60
audit_per_hour = 60

[probation]
parts = {settings.probation_parts}

[box]
address = "127.0.0.1:0"
"""


def start_worker(world: World) -> None:
    """A trainer worker that leases runs from the server."""
    world.supervisor.start(
        "worker",
        [program("loupe-trainer"), "worker", "--server", world.api.url,
         "--pipeline-key", str(world.offline / "pipeline.pem"),
         "--work", str(world.folder / "worker")],
    )  # fmt: skip
