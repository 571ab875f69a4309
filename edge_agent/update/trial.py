"""The self-test in a process of its own: `python -m edge_agent.update.trial FOLDER BOARD`.

A model that crashes the runtime, hangs or eats memory ends that process and nothing else. It prints
one JSON line: class of failure ('' for none), reason, numbers.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

from fleet_contract.board import Board
from fleet_contract.errors import LoupeError, ModelError

if TYPE_CHECKING:
    from fleet_contract.inference.model import BundleModel

_RUNS = 5
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1
_HEADROOM_BYTES = 512 * 2**20
"""Beyond the board's limit, for a child that the agent watches: past it memory is refused."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How it went; `failure` is a class of `UpdateStep.failure`, '' where all is right."""

    failure: str = ""
    reason: str = ""
    numbers: dict[str, float] = field(default_factory=dict)


def run_trial(
    folder: Path,
    board: Board,
    *,
    time_limit_s: float,
    max_latency_s: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> TrialResult | None:
    """Runs the golden samples of the bundle in `folder` in a child; None where it was cancelled.

    Never raises for the bundle's faults.
    """
    limits = {"max_latency_ms": max_latency_s * 1e3, "time_limit_s": time_limit_s}
    text = json.dumps({"board": board.model_dump(mode="json"), **limits})
    orders: bytes | None = text.encode()
    deadline = time.monotonic() + time_limit_s
    command = [sys.executable, "-m", "edge_agent.update.trial", str(folder)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as child:
        while True:
            try:
                stdout, stderr = child.communicate(orders, timeout=_POLL_S)
                return _read(child.returncode, stdout, stderr)
            except subprocess.TimeoutExpired:
                orders = None  # they are on their way
                late, unwanted = time.monotonic() > deadline, cancelled()
                peak = _peak_bytes(child.pid)
            if late or unwanted or peak > board.memory_limit:
                child.kill()
            if unwanted:
                return None
            if peak > board.memory_limit:
                return _too_large(peak, board.memory_limit, {})
            if late:
                return TrialResult("crash", f"the self-test did not end within {time_limit_s:g} s")


def _peak_bytes(process: int) -> int:
    """The most that was resident of a process so far; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii", "replace")
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(words[1]) * 1024 for words in lines), 0)


def _too_large(peak: int, limit: int, numbers: dict[str, float]) -> TrialResult:
    reason = f"{peak / 1e6:.0f} MB of memory, at most {limit / 1e6:.0f} MB are allowed"
    numbers |= {"peak_rss_bytes": float(peak), "memory_limit_bytes": float(limit)}
    return TrialResult("footprint", reason, numbers)


def _read(code: int, stdout: bytes, stderr: bytes) -> TrialResult:
    if code < 0:
        name = signal.Signals(-code).name
        return TrialResult("crash", f"the model ended the runtime's process with {name}")
    try:
        return TrialResult(**json.loads(stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        tail = stderr.decode("utf-8", "replace").strip()[-300:]
        return TrialResult("crash", f"the self-test ended with code {code}: {tail}")


def _child(folder: Path) -> TrialResult:
    """Limits first, so that importing and loading fall under them too."""
    orders = json.load(sys.stdin)
    limit = int(orders["board"].pop("memory_limit"))
    board = Board.model_construct(**orders["board"], memory_limit=limit)
    _limit(limit, float(orders["time_limit_s"]))
    try:
        return _judge(folder, board, float(orders["max_latency_ms"]))
    except MemoryError:
        return _too_large(limit + _HEADROOM_BYTES, limit, {})
    except LoupeError as error:
        if "alloc" in str(error):
            return _too_large(limit + _HEADROOM_BYTES, limit, {})
        return TrialResult("self_test" if isinstance(error, ModelError) else "bundle", str(error))


def _limit(memory_bytes: int, time_limit_s: float) -> None:
    # Dies with the agent; and RLIMIT_DATA, not RLIMIT_AS: runtimes reserve far more than they use.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It only stops what grows faster than the agent looks: a runtime that is refused memory crashes
    # without a word, and the refusal is to tell how much it was.
    most = memory_bytes + _HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    seconds = int(time_limit_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds * 4, seconds * 4))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(PermissionError):  # a hardened service may not change its priority
        os.nice(5)


def _judge(folder: Path, board: Board, max_latency_ms: float) -> TrialResult:
    from fleet_contract.archive import load_folder
    from fleet_contract.inference.golden import failures, self_test
    from fleet_contract.inference.model import BundleModel

    start = time.perf_counter()
    manifest = load_folder(folder)
    model = BundleModel(folder, manifest, board.runtime, board.precision, threads=board.threads)
    load_ms = (time.perf_counter() - start) * 1e3
    model.warm_up()
    wrong = failures(self_test(model, folder))
    latency_ms = _latency(model)
    # Not ru_maxrss: that begins at what the parent held when it started this process.
    peak = _peak_bytes(os.getpid())
    numbers = {
        "load_ms": load_ms, "latency_ms": latency_ms, "peak_rss_bytes": float(peak),
        "max_latency_ms": max_latency_ms, "memory_limit_bytes": float(board.memory_limit),
    }  # fmt: skip
    if wrong:
        return TrialResult("self_test", wrong, numbers)
    if latency_ms > max_latency_ms:
        reason = f"{latency_ms:.3g} ms a part, at most {max_latency_ms:.3g} ms are allowed"
        return TrialResult("footprint", reason, numbers)
    if peak > board.memory_limit:
        return _too_large(peak, board.memory_limit, numbers)
    return TrialResult(numbers=numbers)


def _latency(model: "BundleModel") -> float:
    """Median of a few runs in ms."""
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        model.warm_up(1)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main() -> None:
    """The child's entry: one JSON line on standard output."""
    result = _child(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    sys.stdout.flush()
    # A runtime that crashes while it is torn down has nothing to do with the verdict.
    os._exit(0)


if __name__ == "__main__":
    main()
