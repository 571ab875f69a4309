"""A station for tests: its folder, its configuration, and the real agent in a process of its own."""

import ctypes
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from tests.support.broker import TestBroker

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PR_SET_PTRACER, _ANY = 0x59616D61, ctypes.c_ulong(-1)

BOARD = """
hardware = "x86-64-box"
runtime = "onnx"
precision = "fp32"
threads = 1
memory_limit = "900MB"
"""

CONFIG = """
device = "{device}"
heartbeat = "1s"
[link]
port = {port}
ack_timeout = "2s"
request_timeout = "5s"
[trust]
refresh = "20s"
[data]
spool_limit = "{spool_limit}"
disk_reserve = "1MB"
[line]
name = "watch-case"
deadline = "5s"
[source]
{source}
[[outputs]]
kind = "jsonl"
file = "verdicts.jsonl"
[windows]
length = "500ms"
sample_rate = "20Hz"
[samples]
audit_share = 0.0
rejects_per_hour = 0
near_per_hour = 0
[probation]
parts = {probation}
max_score_shift = 0.45
[trial]
time_limit = "30s"
[box]
address = "127.0.0.1:0"
"""


class Station:
    """`source` is the body of the [source] table."""

    def __init__(
        self,
        folder: Path,
        broker: TestBroker,
        device: str,
        roots: tuple[bytes, bytes],
        source: str,
        *,
        probation: int = 10,
        spool_limit: str = "50MB",
    ) -> None:
        self.folder, self.device = folder, device
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = broker.credentials(device)
        shutil.copy(certificate, folder / "device.crt")
        shutil.copy(key, folder / "device.key")
        shutil.copy(broker.ca, folder / "ca.crt")
        (folder / "image-root.json").write_bytes(roots[0])
        (folder / "director-root.json").write_bytes(roots[1])
        (folder / "board.toml").write_text(BOARD)
        self.config = folder / "station.toml"
        self.config.write_text(
            CONFIG.format(
                device=device, port=broker.port, source=source, probation=probation,
                spool_limit=spool_limit,
            )
        )  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def log(self) -> str:
        """What the agent wrote, over all its runs."""
        return (self.folder / "agent.log").read_text()

    def command(self, *words: str) -> list[str]:
        """A command line of `loupe-agent` for this station."""
        code = "from edge_agent.cli import main; main()"
        return [sys.executable, "-c", code, *words, "--config", str(self.config)]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the agent to its end."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, prefix: tuple[str, ...] = ()) -> None:
        """Starts the agent; `prefix` goes before its command line."""
        self._log = (self.folder / "agent.log").open("ab")
        self.process = subprocess.Popen(
            [*prefix, *self.command("run", "--verbose")], stdout=self._log, stderr=self._log,
            preexec_fn=_before_it_begins,
        )  # fmt: skip

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    @property
    def output_lines(self) -> int:
        """Verdicts that were told on the spot, over all runs."""
        return len(self.told_lines(0))

    def told_lines(self, after: int) -> list[str]:
        """Those verdicts, as JSON, without the first `after`."""
        return (self.folder / "verdicts.jsonl").read_text().splitlines()[after:]

    def limit_files(self, size: int) -> None:
        """From now on no file of the running agent may grow past `size` bytes: a full disk."""
        assert self.process is not None
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def wait(self, timeout_s: float = 60) -> int:
        """Until it ends by itself; the exit code."""
        assert self.process is not None
        code = self.process.wait(timeout_s)
        self._close()
        return code

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        if self.running:
            self.process.send_signal(number)
        return self.wait(30)

    def _close(self) -> None:
        self.process = None
        if self._log is not None:
            self._log.close()
            self._log = None


def _before_it_begins() -> None:
    # A run of tests that is killed leaves no agent behind.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Where the kernel lets only ancestors trace a process (Yama), strace beside it needs its leave.
    _LIBC.prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
