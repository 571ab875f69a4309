"""The real commands: a server's folder, a device, the server process, the operator's line."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_server.broker import start_broker
from fleet_server.cli.operator import main as operator
from fleet_server.cli.server import main as server
from fleet_server.store import Store
from tests.support.broker import free_port
from tests.support.telemetry import png
from tests.support.wait import eventually

RUN = "from fleet_server.cli.server import main; main()"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def call(main: Callable[[], None], *arguments: object) -> Done:
    """Runs a command line to its end, in this process: only the server itself needs one of its own."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["command", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


class Running:
    """A server process with its broker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        broker_port = free_port()
        made = call(server, "init", folder, "--http-port", self.port, "--broker-port", broker_port)
        assert made.returncode == 0, made.stderr
        self.broker = start_broker(folder / "broker" / "mosquitto.conf")
        self.process = self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RUN, "run", "--dir", str(self.folder)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == f"Loupe server listens on {self.url}"
        eventually(self.healthy, 20, "the server is healthy")
        return process

    def healthy(self) -> bool:
        try:
            return bool(httpx.get(f"{self.url}/api/v1/health").json()["status"] == "ok")
        except httpx.HTTPError:
            return False

    def loupe(self, *arguments: object) -> Done:
        """The operator's command line."""
        return call(operator, "--server", self.url, *arguments)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests of this file."""
    made = Running(tmp_path_factory.mktemp("cli") / "server")
    yield made
    made.process.kill()
    made.process.communicate()
    made.broker.stop()


def test_a_folder_is_made_once(running: Running) -> None:
    keys = running.folder / "offline"
    assert all((path.stat().st_mode & 0o777) == 0o600 for path in keys.iterdir())
    again = call(server, "init", running.folder)
    assert again.returncode == 2
    assert "holds a server already" in again.stderr
    assert "Traceback" not in again.stderr


def test_a_device_gets_its_files_and_is_registered(running: Running, tmp_path: Path) -> None:
    out = tmp_path / "station-1"
    added = call(server, "device", "add", "station-1", "--server", running.folder, "--out", out)
    assert added.returncode == 0, added.stderr
    names = {"device.key", "device.crt", "ca.crt", "image-root.json", "director-root.json"}
    assert {path.name for path in out.iterdir()} == names
    listed = json.loads(running.loupe("device", "list", "--json").stdout)
    assert [device["name"] for device in listed] == ["station-1"]
    assert running.loupe("device", "show", "station-1").returncode == 0


@pytest.mark.parametrize("name", ["server", "all", "a/b", "", "x" * 65, "naïve"])
def test_a_name_that_is_none_is_refused(running: Running, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    added = call(server, "device", "add", "--server", running.folder, "--out", out, "--", name)
    assert added.returncode == 2
    assert "Traceback" not in added.stderr
    assert not out.exists()


def test_a_second_server_says_that_the_port_is_taken(running: Running) -> None:
    second = call(server, "run", "--dir", running.folder)
    assert second.returncode == 2
    assert f"port {running.port}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_server_for_everybody_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text('[http]\nhost = "0.0.0.0"\n')
    refused = call(server, "run", "--dir", tmp_path)
    assert refused.returncode == 2
    assert "no user accounts" in refused.stderr


def test_a_wrong_key_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text('[runs]\nlease = "30 parsecs"\n')
    refused = call(server, "run", "--dir", tmp_path)
    assert refused.returncode == 2
    assert "server.toml: runs.lease" in refused.stderr


def test_a_trainers_version_is_pushed_and_trained_from(running: Running, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "versions").mkdir()
    store, items = Store(tmp_path / "blobs"), []
    for seed in range(4):
        digest = store.put(png(seed))
        (tmp_path / "objects" / digest).write_bytes(png(seed))
        split = "train" if seed < 3 else "holdout"
        item = {"sha256": digest, "label": "good", "group": f"p{seed}", "split": split}
        items.append(DatasetItem.model_validate(item))
    version = DatasetVersion(line="watch-case", reason="test", channels=3, items=items)
    (tmp_path / "versions" / f"{version.digest()}.json").write_bytes(version.canonical())
    config = tmp_path / "line.toml"
    config.write_text('[line]\nname = "watch-case"\n')
    unknown = running.loupe("dataset", "push", tmp_path, version.digest()[:12])
    assert unknown.returncode == 2
    assert "loupe line add" in unknown.stderr
    assert running.loupe("line", "add", "watch-case", "--config", config).returncode == 0
    pushed = running.loupe("dataset", "push", tmp_path, version.digest()[:12])
    assert pushed.returncode == 0, pushed.stderr
    assert version.digest() in pushed.stdout
    assert running.loupe("run", "queue", "watch-case").returncode == 0
    lease = httpx.post(f"{running.url}/api/v1/runs/lease", json={"worker": "w"}).json()
    assert lease["dataset"] == version.digest()
    fetched = httpx.get(f"{running.url}/api/v1/datasets/{lease['dataset']}").json()
    assert DatasetVersion.model_validate(fetched).digest() == version.digest()


@pytest.mark.parametrize(
    "command",
    ["device list", "device events", "baseline list", "incident list --all", "line list",
     "label list", "dataset list", "run list", "audit list", "audit verify", "health"],
)  # fmt: skip
def test_every_listing_is_for_people_too(running: Running, command: str) -> None:
    shown = running.loupe(*command.split())
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout


def test_ctrl_c_ends_the_server_cleanly_and_it_starts_again(running: Running) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        running.process.send_signal(number)
        _, errors = running.process.communicate(timeout=20)
        assert running.process.returncode == 0
        assert "Traceback" not in errors
        running.process = running.start()
    assert json.loads(running.loupe("device", "list", "--json").stdout)


def test_no_server_is_said_plainly() -> None:
    nobody = call(operator, "--server", f"http://127.0.0.1:{free_port()}", "health")
    assert nobody.returncode == 2
    assert "no Loupe server answers" in nobody.stderr
