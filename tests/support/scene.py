"""A whole station for tests and benchmarks: real broker, real camera, real trust, the real agent."""

import itertools
from contextlib import ExitStack
from pathlib import Path

from fleet_contract.messages import LineState
from hil.camera.camera import CameraSpec
from hil.camera.client import Bench
from hil.camera.server import serving
from tests.support.broker import TestBroker
from tests.support.mini_server import MiniServer
from tests.support.station import Station
from tests.support.tiny_bundle import TinySpec, tiny_bundle
from tests.support.wait import eventually

_names = (f"station-{n}" for n in itertools.count(1))


class Scene:
    """One server, one camera and one station, with a device name of its own."""

    def __init__(self, folder: Path, broker: TestBroker) -> None:
        self._stack = ExitStack()
        self._stations: list[Station] = []
        self.folder, self.broker = folder, broker
        self.device = next(_names)
        self.server = MiniServer(broker, folder / "server")
        self.server.start()
        self._stack.callback(self.server.stop)

    def camera(self, *, rate: float = 20.0, buffer: int = 400) -> str:
        """A line camera of 64x64 pixels; its address."""
        spec = CameraSpec("cam-1", 1, rate, 0.25, buffer, 64, None)
        ports = self._stack.enter_context(serving(spec))
        self.bench = self._stack.enter_context(Bench(ports.bench_url))
        return ports.url

    def station(self, folder: str = "station", *, rate: float = 20.0, buffer: int = 400,
                probation: int = 10, spool_limit: str = "50MB", device: str = "") -> Station:  # fmt: skip
        """A station in front of a camera, not yet started."""
        source = f'kind = "line_camera"\nurl = "{self.camera(rate=rate, buffer=buffer)}"'
        made = Station(
            self.folder / folder, self.broker, device or self.device, self.server.roots(), source,
            probation=probation, spool_limit=spool_limit,
        )  # fmt: skip
        self._stations.append(made)
        return made

    def release(self, **changes: object) -> str:
        """A signed bundle; its digest."""
        spec = TinySpec(**changes)  # type: ignore[arg-type]
        digest, archive = tiny_bundle(spec)
        self.server.publish(digest, archive, epoch=spec.epoch)
        return digest

    def steps(self, digest: str) -> list[str]:
        """States of the updates to a bundle."""
        return self.server.steps(self.device, digest)

    def reaches(self, digest: str, state: str, timeout_s: float = 30) -> None:
        """Waits until the device has told that the update to `digest` is in `state`."""
        eventually(lambda: state in self.steps(digest), timeout_s, f"{digest[:8]} is {state}")

    def active(self) -> str | None:
        """Digest of the bundle that the device says is active."""
        state = self.server.state(self.device)
        slot = state.lines["watch-case"].active if state else None
        return slot.digest if slot else None

    def becomes_active(self, digest: str) -> None:
        """Waits until the device says so."""
        eventually(lambda: self.active() == digest, 30, f"{digest[:8]} is active")

    def judges(self, digest: str, more: int = 5) -> None:
        """Waits for `more` stored verdicts by that bundle."""

        def count() -> int:
            return sum(v.digest == digest for v in self.server.verdicts(self.device))

        before = count()
        eventually(lambda: count() >= before + more, 30, f"{digest[:8]} judges")

    def line(self) -> LineState:
        """What the device last said of its line."""
        state = self.server.state(self.device)
        assert state is not None
        return state.lines["watch-case"]

    def numbers(self) -> list[int]:
        """Part numbers of all stored verdicts, in the order of the spool."""
        return [verdict.number for verdict in self.server.verdicts(self.device)]

    def every_part_once(self) -> None:
        """Waits until part numbers are contiguous, each exactly once; fails where one came twice."""

        def gapless() -> bool:
            numbers = self.numbers()
            return numbers == list(range(numbers[0], numbers[0] + len(numbers)))

        eventually(gapless, 15, "every part is stored, in order, once")

    def close(self) -> None:
        """Ends what was started."""
        for station in self._stations:
            station.kill()
        self._stack.close()
