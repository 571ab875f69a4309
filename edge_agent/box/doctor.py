"""The commonest faults of an installation, each with its remedy. Looks and never changes anything."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edge_agent.box import probes
from edge_agent.config import StationConfig, load_config
from fleet_contract.errors import LoupeError

_MEND = (
    "Mend the file that it names: `loupe-server device add` writes a device's files,"
    " `loupe-agent example-config` a configuration."
)
Grade = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    grade: Grade
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def _certificate(station: StationConfig) -> Finding:
    name, end_s = probes.certificate(station)
    days = (end_s - probes.now_s()) / 86400
    if days < 0:
        return Finding(
            "certificate", "fault", f"the certificate of {name} ended {-days:.0f} days ago",
            "Make a new one with `loupe-server device add`, or set the clock if it is wrong.",
        )  # fmt: skip
    grade: Grade = "warning" if days < 30 else "ok"
    remedy = "Make a new one with `loupe-server device add`." if days < 30 else ""
    return Finding("certificate", grade, f"of {name}, good for {days:.0f} days", remedy)


def _broker(station: StationConfig) -> Finding:
    link = station.link
    if probes.owner(station):
        # The broker knows a device by its name: a second connection would end the agent's.
        live = probes.live(station)
        if live is not None and live["online"]:
            return Finding(
                "broker", "ok", f"the running agent is connected to {link.host}:{link.port}"
            )
        return Finding(
            "broker", "warning", f"the running agent has no link to {link.host}:{link.port}, or does not say",
            "`loupe-agent logs` says why; stop the agent and ask again to have the connection tried.",
        )  # fmt: skip
    trouble = probes.broker(station)
    if trouble:
        return Finding(
            "broker", "fault", f"{link.host}:{link.port}: {trouble}",
            "Is the broker on, the address in [link] right, and port and firewall open? Was this device"
            " added on that server (`loupe-server device add`)?",
        )  # fmt: skip
    return Finding("broker", "ok", f"{link.host}:{link.port} takes this device's certificate")


def _clock(station: StationConfig) -> Finding:
    if probes.now_s() < probes.OLDEST_S:
        return Finding(
            "clock", "fault", "it stands before this version was made: certificates and signatures fail",
            "Set the clock; install chrony or enable systemd-timesyncd.",
        )  # fmt: skip
    trouble = probes.clock_trouble(station)
    if trouble:
        return Finding(
            "clock", "fault", trouble,
            "Set the clock; install chrony or enable systemd-timesyncd. If it is right, the device"
            " needs a new certificate.",
        )  # fmt: skip
    if not probes.clock_synchronised():
        return Finding(
            "clock", "warning", "it is not synchronised: times of reports may be wrong",
            "Enable systemd-timesyncd or install chrony, and let it reach a time server.",
        )  # fmt: skip
    return Finding("clock", "ok", "synchronised")


def _disk(station: StationConfig) -> Finding:
    data = station.data
    free = probes.free_bytes(data.folder)
    wanted = data.disk_reserve + 200_000_000
    text = f"{free / 1e6:.0f} MB free where {data.folder} lies"
    if free < data.disk_reserve:
        return Finding("disk", "fault", text, "Free space: no new bundle can be fetched.")
    if free < wanted:
        return Finding("disk", "warning", text, "Free space before the next bundle comes.")
    return Finding("disk", "ok", text)


def _data_folder(station: StationConfig) -> Finding:
    folder = station.data.folder
    trouble = probes.not_writable(folder)
    if trouble:
        return Finding(
            "data folder", "fault", trouble, f"Give {folder} to the user that the agent runs as."
        )
    kind = probes.filesystem(folder)
    if kind in ("tmpfs", "ramfs"):
        return Finding(
            "data folder", "fault", f"{folder} is in memory ({kind}): all is lost with the power",
            "Set data.folder to a disk.",
        )  # fmt: skip
    return Finding("data folder", "ok", f"{folder} is writable, on {kind or 'a disk'}")


def _camera(station: StationConfig) -> Finding:
    if probes.owner(station):
        live = probes.live(station)
        if live is None or live["inspecting"]:
            return Finding("camera", "ok", "the running agent has it")
        return Finding(
            "camera", "warning", "the running agent judges no parts",
            "`loupe-agent logs --level warning` says why: the camera is lost, or there is no bundle.",
        )  # fmt: skip
    trouble = probes.camera(station)
    if trouble:
        return Finding(
            "camera", "fault", trouble,
            "Look at the camera's power, cable and address, at [source], and at its resolution.",
        )  # fmt: skip
    pushed = station.source.kind == "push"
    text = "its port is free for images" if pushed else "gives frames that the active bundle takes"
    return Finding("camera", "ok", text)


def _calibration(station: StationConfig) -> Finding:
    limited, scaled = probes.sizes(station)
    plan = station.plan
    names = ", ".join(plan.uncalibrated)
    if not plan.uncalibrated:
        told = ", ".join(f"{name}: {scale:g} mm a pixel" for name, scale in plan.scales.items())
        return Finding("calibration", "ok", told)
    if not limited:
        return Finding("calibration", "ok", "no bundle here limits sizes")
    measure = "`loupe-agent calibrate IMAGE --pitch MM` measures it."
    if scaled:
        return Finding(
            "calibration",
            "warning",
            f"{names}: sizes are judged by the scale of the bundle",
            measure,
        )
    return Finding(
        "calibration",
        "fault",
        f"{names}: the bundle limits sizes, and nobody knows the scale",
        measure,
    )


def _model(station: StationConfig) -> Finding:
    trouble = probes.runtime(station)
    if trouble:
        return Finding(
            "model",
            "fault",
            trouble,
            "Install the agent's extra, and render board.toml for this board.",
        )
    found = probes.model(station)
    if found is None:
        return Finding(
            "model", "warning", "no bundle is active yet: every part is no decision",
            "Assign a bundle to this device on the server.",
        )  # fmt: skip
    return Finding("model", "ok", found)


def _agent(station: StationConfig, config: Path) -> Finding:
    owner = probes.owner(station)
    if not owner:
        return Finding("agent", "warning", "not running", "`systemctl start loupe-agent`.")
    other = probes.other_configuration(owner, config)
    if other:
        return Finding(
            "agent", "fault", f"process {owner} holds {station.data.folder} with another configuration: {other}",
            "One agent a data folder: stop that one, or give this one a folder of its own.",
        )  # fmt: skip
    return Finding("agent", "ok", f"runs as process {owner}")


def _service(_station: StationConfig) -> Finding:
    trouble = probes.service()
    if trouble:
        return Finding(
            "service", "warning", trouble,
            "`python -m firmware_configs render BOARD` writes loupe-agent.service with its watchdog.",
        )  # fmt: skip
    return Finding("service", "ok", "systemd starts the agent, and its watchdog watches it")


def _outputs(station: StationConfig) -> Finding:
    troubles = probes.outputs(station)
    if troubles:
        return Finding(
            "outputs", "fault", "; ".join(troubles),
            "Look at the peer's power, network and address in [[outputs]].",
        )  # fmt: skip
    count = len(station.outputs)
    return Finding("outputs", "ok", f"{count} reached" if count else "none is configured")


CHECKS: dict[str, Callable[[StationConfig], Finding]] = {
    "certificate": _certificate,
    "broker": _broker,
    "clock": _clock,
    "disk": _disk,
    "data folder": _data_folder,
    "camera": _camera,
    "calibration": _calibration,
    "model": _model,
    "service": _service,
    "outputs": _outputs,
}


def examine(config: Path) -> list[Finding]:
    """All checks in their order; a configuration that cannot be read is the only finding."""
    try:
        station = load_config(config)
    except LoupeError as error:
        return [Finding("configuration", "fault", _without_remedy(error), error.remedy)]
    first = Finding(
        "configuration", "ok", f"{config} names {station.device} on {station.line.name}"
    )
    checks = {**CHECKS, "agent": lambda station: _agent(station, config)}
    return [first, *(_checked(name, check, station) for name, check in checks.items())]


def _checked(
    name: str, check: Callable[[StationConfig], Finding], station: StationConfig
) -> Finding:
    try:
        return check(station)
    except LoupeError as error:
        return Finding(name, "fault", _without_remedy(error), error.remedy or _MEND)


def _without_remedy(error: LoupeError) -> str:
    return str(error).removesuffix(f". {error.remedy}") if error.remedy else str(error)
