"""What the device says of itself: counters, latencies, memory, the clock, the service manager."""

import ctypes
import functools
import gc
import os
import socket
import threading
import time
from collections import deque
from pathlib import Path

import psutil

from edge_agent.box.metrics import StageTimes
from edge_agent.source.base import GAP, OVERRUN, FrameCounts
from edge_agent.spool import Stamp
from fleet_contract.messages import Heartbeat, PartVerdict
from fleet_contract.names import Verdict

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_RATE_S = 10.0
_TIME_ERROR = 5


class Meter:
    """Counters since the agent's start. `part` is called by one thread."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self.parts = self.no_decision = self.dropped_frames = self.output_failures = 0
        self.verdicts = dict.fromkeys(Verdict, 0)
        self.stages = StageTimes()
        self.frames = FrameCounts()
        self._latencies: deque[float] = deque(maxlen=1000)
        self._times: deque[float] = deque()
        self._lock = threading.Lock()

    def part(self, verdict: PartVerdict, now_s: float) -> None:
        """Counts one part at monotonic `now_s`."""
        with self._lock:
            self.parts += 1
            self.verdicts[verdict.verdict] += 1
            self.no_decision += verdict.verdict is Verdict.NO_DECISION
            self.dropped_frames += verdict.reason in (GAP, OVERRUN)
            self._times.append(now_s)
            self._forget(now_s)
            if verdict.digest is not None:
                self._latencies.append(verdict.latency_ms)

    def _forget(self, now_s: float) -> None:
        while self._times and now_s - self._times[0] > _RATE_S:
            self._times.popleft()

    def rate(self, now_s: float) -> float:
        """Parts a second over the last ten."""
        with self._lock:
            self._forget(now_s)
            return len(self._times) / min(_RATE_S, max(now_s - self._start_s, 1.0))

    def latency_ms(self, quantile: float) -> float | None:
        """Quantile (0 to 1) of the last 1,000 latencies; None without any."""
        with self._lock:
            values = sorted(self._latencies)
        return values[min(int(quantile * len(values)), len(values) - 1)] if values else None

    def heartbeat(self, now_s: float, folder: Path, spool: tuple[int, int]) -> Heartbeat:
        """The message; `spool` is records and bytes that wait."""
        process = psutil.Process()
        return Heartbeat(
            time_s=time.time(),
            uptime_s=now_s - self._start_s,
            rss_bytes=process.memory_info().rss,
            cpu_percent=psutil.cpu_percent(),
            disk_free_bytes=psutil.disk_usage(str(folder)).free,
            temperature_c=_temperature(),
            parts=self.parts,
            parts_per_s=round(self.rate(now_s), 3),
            no_decision=self.no_decision,
            dropped_frames=self.dropped_frames,
            untriggered_frames=self.frames.dropped,
            incomplete_frames=self.frames.incomplete,
            spool_records=spool[0],
            spool_bytes=spool[1],
            latency_p50_ms=self.latency_ms(0.5),
            latency_p99_ms=self.latency_ms(0.99),
        )


def _temperature() -> float | None:
    sensors = psutil.sensors_temperatures()
    values = [entry.current for group in sensors.values() for entry in group]
    return max(values) if values else None


def throttled() -> bool | None:
    """Whether the processor is slowed by heat or by its supply; None where it cannot be told.

    By the Raspberry Pi's firmware: bits 0 to 3 of its word are what holds now.
    """
    try:
        return bool(int(_THROTTLED.read_text(), 16) & 0xF)
    except (OSError, ValueError):
        return None


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot; read once, so that no record waits for a file."""
    return _BOOT_ID.read_text().strip()


def clock_synchronised() -> bool:
    """Whether the kernel holds its clock for synchronised (adjtimex(2))."""
    # struct timex is about 208 bytes; modes = 0 only reads.
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    return state not in (-1, _TIME_ERROR)


def stamp() -> Stamp:
    """When a record is made."""
    return Stamp(boot_id(), time.monotonic(), time.time(), clock_synchronised())


def settle_memory() -> None:
    """Once, before parts are judged: what the start has made is never looked at for garbage again.

    Looking at all of it stops every thread for 15 ms on a fast core, at a time that nobody chooses.
    """
    gc.collect()
    gc.freeze()


def notify(message: str) -> None:
    """A word to the service manager (sd_notify(3)); nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), target)
