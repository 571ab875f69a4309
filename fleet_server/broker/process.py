"""Mosquitto as a process of ours: started, waited for, stopped."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from fleet_contract.errors import ConfigError, ResourceError

_START_S = 10.0
_STOP_S = 5.0
LOG = "mosquitto.log"


class BrokerProcess:
    """A running broker. Stopping it writes its retained messages to disk."""

    def __init__(self, process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
        self.process, self.host, self.port, self.log = process, host, port, log

    def stop(self) -> None:
        """Ends the broker and waits for it; a broker that has ended already is fine."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def find_mosquitto() -> str:
    """Path of the program. Raises ResourceError that says how to get it."""
    # Debian puts it where only root's PATH looks.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise ResourceError(
            "mosquitto is not installed, and the devices' messages go through it",
            remedy="On Debian and Ubuntu: sudo apt-get install mosquitto. "
            "Elsewhere install it from your system's packages.",
        )
    return found


def start_broker(config: Path) -> BrokerProcess:
    """Starts mosquitto by `config`, and returns when it listens; its log lies beside the file.

    Raises ResourceError where the program is missing, its port is taken, or it does not come up,
    ConfigError where the file cannot be used.
    """
    program = find_mosquitto()
    host, port = _listener(config)
    _check_free(host, port)
    log = config.parent / LOG
    with log.open("ab") as output:
        process = subprocess.Popen(
            [program, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    broker = BrokerProcess(process, host, port, log)
    try:
        _wait(broker)
    except ResourceError:
        broker.stop()
        raise
    return broker


def _listener(config: Path) -> tuple[str, int]:
    try:
        lines = config.read_text().splitlines()
    except OSError as error:
        raise ConfigError(
            f"the broker's configuration cannot be read: {error}",
            remedy="Make it with `loupe-server init`.",
        ) from error
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "listener" and words[1].isdigit():
            return words[2], int(words[1])
    raise ConfigError(f"{config} names no listener", expected="a line `listener PORT HOST`")


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(
                f"the broker cannot listen on {host}:{port}: {error.strerror}",
                remedy="Stop what uses the port, or choose another one for the broker.",
            ) from error


def _wait(broker: BrokerProcess) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if broker.process.poll() is not None:
            break
        try:
            socket.create_connection((broker.host, broker.port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    tail = broker.log.read_text(errors="replace").strip().splitlines()[-3:]
    raise ResourceError(
        "mosquitto did not start",
        expected=f"a listener on {broker.host}:{broker.port}",
        found=" / ".join(tail) or "an empty log",
        remedy=f"The whole log is {broker.log}.",
    )
