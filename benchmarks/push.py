"""A push of a bundle to three agents, over the time that the raw broker takes for the same bytes.

    python benchmarks/push.py [--size 2 --size 20] [--raw-runs 3] [--json]

A push lasts from the first agent that joins until the last one has verified the bundle against its
signed metadata. The same broker, with the server and the agents stopped, then delivers the same
bytes in the same blocks (QoS 0, mutual TLS, no pacing) to three bare subscribers. The bundle carries
bytes that do not compress. `--json`: an object a size, each on its line, the largest last.
"""

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.support.bundle import padded, small_bundle
from benchmarks.support.fleet import fleet, release, roll_out, server_process
from benchmarks.support.program import run
from benchmarks.support.raw import Identity, raw_seconds
from fleet_contract import blocks
from fleet_server.distribution.service import PACE_BYTES_S
from hil.story.settings import STATIONS
from hil.story.world import World


@dataclass(frozen=True)
class Result:
    """Sizes in bytes, times in seconds."""

    bytes: int
    """That left the server: broadcast, and asked for one by one."""
    encoded_bytes: int
    """Of the bundle as it is sent, once."""
    seconds: float
    paced_seconds: float
    """What the server's pacing of the broadcast takes by itself, a part of `seconds`."""
    raw_seconds: float
    """Median of the runs."""
    time_ratio: float
    """seconds / raw_seconds."""
    egress_ratio: float
    """bytes / encoded_bytes; as many as there are devices, were each served alone."""
    devices: int


def measure(archive: bytes, raw_runs: int) -> Result:
    """One push in a fleet of its own, then the broker alone."""
    with fleet() as world:
        bundle = release(world, archive)
        roll_out(world, bundle)
        push = world.wait("the push is written down", lambda: finished_push(world, bundle))
        seconds = last_verified(world, bundle) - push["opened_at"]
        encoded = blocks.compress(archive)
        stop_all_but_the_broker(world)
        raw = statistics.median(broker_alone(world, encoded) for _ in range(raw_runs))
    sent = push["bytes_broadcast"] + push["bytes_unicast"]
    return Result(
        bytes=sent,
        encoded_bytes=push["length"],
        seconds=round(seconds, 3),
        paced_seconds=round(push["length"] / PACE_BYTES_S, 3),
        raw_seconds=round(raw, 3),
        time_ratio=round(seconds / raw, 2),
        egress_ratio=round(sent / push["length"], 3),
        devices=len(STATIONS),
    )


def finished_push(world: World, bundle: str) -> dict[str, Any] | None:
    """The bundle's one broadcast as the server stored it, once it is over."""
    pushes: list[dict[str, Any]] = world.api.get("/pushes", bundle=bundle)
    return next((push for push in pushes if push["finished_at"]), None)


def last_verified(world: World, bundle: str) -> float:
    """Time (UTC epoch) at which the last station said that the bundle is the signed one."""
    events = world.api.get("/events", kind="update", limit=200)
    times = [
        event["time_s"]
        for event in events
        if event["digest"] == bundle and event["data"]["state"] == "verified"
    ]
    assert len(times) == len(STATIONS), f"{len(times)} of {len(STATIONS)} stations verified"
    return float(max(times))


def stop_all_but_the_broker(world: World) -> None:
    """Agents and server leave, so that their names are free and the broker has no other work."""
    for station in world.stations.values():
        world.supervisor.stop(station.agent)
    server = server_process(world)
    server.terminate()
    server.wait(30)


def broker_alone(world: World, data: bytes) -> float:
    """Seconds for `data` from the server's identity to the three stations'."""
    pki, port = world.server / "pki", world.broker_port
    sender = Identity("server", pki / "server.crt", pki / "server.key", pki / "ca.crt", port)
    receivers = [
        Identity(name, _of(world, name) / "device.crt", _of(world, name) / "device.key",
                 pki / "ca.crt", port)
        for name in STATIONS
    ]  # fmt: skip
    return raw_seconds(sender, receivers, data, blocks.sha256(data))


def _of(world: World, name: str) -> Path:
    return world.stations[name].folder


def main(
    size: Annotated[list[int], typer.Option(min=1, help="Bundle size in MB; may be repeated.")] = [  # noqa: B006
        2,
        20,
    ],
    raw_runs: Annotated[int, typer.Option(min=1, help="Runs of the broker alone.")] = 3,
    bundle: Annotated[Path | None, typer.Option(help="Pad this bundle, not a trained one.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a size, a line each.")
    ] = False,
) -> None:
    """Measure each size, and print one line for each."""
    small = small_bundle(bundle)
    for wanted in sorted(size):
        result = measure(padded(small, wanted * 1_000_000), raw_runs)
        if as_json:
            typer.echo(json.dumps(asdict(result)))
            continue
        typer.echo(
            f"{result.encoded_bytes / 1e6:5.1f} MB to {result.devices} agents"
            f"  {result.seconds:6.2f} s, of it pacing {result.paced_seconds:5.2f} s   raw broker {result.raw_seconds:6.2f} s"
            f"   time x {result.time_ratio:.2f}   server sent x {result.egress_ratio:.2f}"
        )


if __name__ == "__main__":
    run(main)
