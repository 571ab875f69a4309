"""What the page and the metrics tell, gathered from the agent's parts when somebody asks."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_agent import VERSION
from edge_agent.box.lately import Lately, Seen
from edge_agent.box.metrics import Sample
from edge_agent.config import StationConfig
from edge_agent.health import Meter, throttled
from edge_agent.inspect import Inspector
from edge_agent.output.guarded import Guarded
from edge_agent.update.durable import Durable
from fleet_contract.clock import Clock
from fleet_contract.messages import Heartbeat
from fleet_contract.names import Slot, Verdict

_FRESH_S = 0.5
"""State that is younger is given again, so that many askers cost no more than one."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The agent's parts that are looked at."""

    config: StationConfig
    meter: Meter
    lately: Lately
    durable: Durable
    inspector: Inspector
    guarded: Guarded | None
    online: Callable[[], bool]
    clock: Clock


class View:
    """Thread-safe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._state: dict[str, Any] = {}
        self._at_s = -1e9

    @property
    def lately(self) -> Lately:
        """The last parts."""
        return self._parts.lately

    def state(self) -> dict[str, Any]:
        """All that the page shows, as JSON's values."""
        with self._lock:
            now = self._parts.clock.monotonic()
            if now - self._at_s >= _FRESH_S:
                self._state, self._at_s = self._gather(), now
            return self._state

    def _gather(self) -> dict[str, Any]:
        parts, line = self._parts, self._parts.config.line.name
        state = parts.durable.line_state(line, inspecting=parts.inspector.inspecting)
        return {
            "device": parts.config.device,
            "line": line,
            "version": VERSION,
            "time_s": parts.clock.time(),
            "inspecting": state.inspecting,
            "online": parts.online(),
            "slots": state.model_dump(mode="json", include={str(slot) for slot in Slot}),
            "update": state.update.model_dump(mode="json") if state.update else None,
            "update_locked": parts.durable.update_locked(line),
            "mm_per_pixel": parts.config.plan.scales,
            "parts": [_told(seen) for seen in parts.lately.last()],
            "health": self._beat().model_dump(mode="json") | {"throttled": throttled()},
            "outputs": parts.guarded.counts if parts.guarded else {},
        }  # fmt: skip

    def _beat(self) -> Heartbeat:
        parts = self._parts
        return parts.meter.heartbeat(
            parts.clock.monotonic(), parts.config.data.folder, parts.durable.waiting()
        )

    def samples(self) -> list[Sample]:
        """Every sample of `metrics.METRICS` that there is."""
        return [*self._counts(), *self._machine(), *self._queues()]

    def _counts(self) -> list[Sample]:
        parts, meter, state = self._parts, self._parts.meter, self.state()
        active = state["slots"][str(Slot.ACTIVE)]
        info = {
            "device": state["device"], "line": state["line"], "version": VERSION,
            "bundle": active["digest"][:12] if active else "",
        }  # fmt: skip
        return [
            ("loupe_up", {}, state["inspecting"]),
            ("loupe_info", info, 1),
            *(
                ("loupe_parts_total", {"verdict": str(verdict)}, meter.verdicts[verdict])
                for verdict in Verdict
            ),
            ("loupe_parts_per_second", {}, meter.rate(parts.clock.monotonic())),
            *meter.stages.samples(),
            ("loupe_unseen_parts_total", {}, meter.dropped_frames),
            ("loupe_untriggered_frames_total", {}, meter.frames.dropped),
            ("loupe_incomplete_frames_total", {}, meter.frames.incomplete),
            ("loupe_camera_settings_refused_total", {}, meter.frames.unset),
            ("loupe_link_online", {}, state["online"]),
        ]

    def _machine(self) -> list[Sample]:
        health = self.state()["health"]
        values = [
            ("loupe_cpu_percent", health["cpu_percent"]),
            ("loupe_memory_bytes", health["rss_bytes"]),
            ("loupe_temperature_celsius", health["temperature_c"]),
            ("loupe_disk_free_bytes", health["disk_free_bytes"]),
            ("loupe_throttled", health["throttled"]),
            ("loupe_uptime_seconds", health["uptime_s"]),
        ]
        return [(name, {}, value) for name, value in values if value is not None]

    def _queues(self) -> list[Sample]:
        health, inspector = self.state()["health"], self._parts.inspector
        found: list[Sample] = [
            ("loupe_queue_depth", {"queue": "spool"}, health["spool_records"]),
            ("loupe_queue_depth", {"queue": "shadow"}, inspector.shadow_waiting),
            ("loupe_dropped_total", {"queue": "report"}, inspector.given_up),
        ]
        for name, counts in self.state()["outputs"].items():
            found += [
                ("loupe_output_lost", {"output": name}, counts["lost"]),
                ("loupe_output_failures_total", {"output": name}, counts["failures"]),
                ("loupe_dropped_total", {"queue": name}, counts["dropped"]),
            ]
        return found


def _told(seen: Seen) -> dict[str, Any]:
    verdict = seen.verdict.model_dump(mode="json", exclude={"v"})
    return verdict | {"picture": seen.picture is not None, "heat": seen.heat is not None}
