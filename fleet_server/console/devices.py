"""What is said of a device in more than one place: its link, drift, health and events."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet_contract.messages import Heartbeat
from fleet_server.console import words
from fleet_server.console.show import Badge, Fact, number, percent, size, span
from fleet_server.drift.models import Baseline, Incident
from fleet_server.registry.models import Device
from fleet_server.telemetry.models import EventRow


@dataclass(frozen=True, slots=True)
class EventView:
    """One event in a feed."""

    device: str
    time_s: float
    badge: Badge
    text: str
    digest: str


def drift_badge(device: str, incidents: Sequence[Incident], baselines: Sequence[Baseline]) -> Badge:
    """What drift is to be said of a device: an open incident, else how far its baseline is."""
    open_here = [i for i in incidents if i.device == device and i.state != "closed"]
    if open_here:
        return Badge(f"drift: {open_here[0].cause}", "bad")
    states = {baseline.state for baseline in baselines if baseline.device == device}
    if "accepted" in states:
        return Badge("no drift", "ok")
    if "proposed" in states:
        return Badge("baseline to accept", "warn")
    return Badge("no baseline yet", "idle")


def event_view(row: EventRow) -> EventView:
    """The event as feeds show it."""
    return EventView(
        device=row.device,
        time_s=row.time_s,
        badge=words.event(row.kind, row.severity, row.data),
        text=row.text,
        digest=row.digest or "",
    )


def link_badge(device: Device) -> Badge:
    """Whether the device is there, or two devices use its name."""
    if device.clone_since is not None:
        return Badge("cloned identity", "bad")
    return words.link(device.online)


def health(beat: Heartbeat | None, device: Device) -> list[Fact]:
    """The heartbeat in words, and what the server holds against the device."""
    facts = [Fact("Hardware", device.hardware or "not reported")]
    if beat:
        facts += _beat(beat)
    if device.false_alarms:
        facts.append(Fact("False alarms", number(device.false_alarms)))
    if device.bad_messages:
        facts.append(
            Fact("Broken messages", f"{number(device.bad_messages)}, last: {device.last_bad}")
        )
    return facts


def _beat(beat: Heartbeat) -> list[Fact]:
    facts = [
        Fact("Up for", span(beat.uptime_s)),
        Fact("Parts", f"{number(beat.parts)}, {beat.parts_per_s:.1f} a second"),
        Fact("No decision", number(beat.no_decision)),
        Fact("Dropped frames", number(beat.dropped_frames)),
        Fact("Processor", percent(beat.cpu_percent / 100)),
        Fact("Memory", size(beat.rss_bytes)),
        Fact("Disk free", size(beat.disk_free_bytes)),
        Fact(
            "Waiting to be sent", f"{number(beat.spool_records)} records, {size(beat.spool_bytes)}"
        ),
    ]
    if beat.latency_p50_ms is not None and beat.latency_p99_ms is not None:
        latency = f"{beat.latency_p50_ms:.1f} ms, 99 % within {beat.latency_p99_ms:.1f} ms"
        facts.insert(2, Fact("Latency", latency))
    if beat.temperature_c is not None:
        facts.append(Fact("Temperature", f"{beat.temperature_c:.0f} degrees C"))
    return facts
