"""Keeps devices and lines."""

import re
import tomllib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session, col, select

from fleet_contract.errors import ConfigError, StateError, TrustError
from fleet_contract.messages import (
    DeviceState,
    EventBody,
    Heartbeat,
    LinkStatus,
    SignedState,
)
from fleet_contract.names import LINE_PATTERN, is_device
from fleet_contract.trust.signing import verify_state
from fleet_server.audit.service import record
from fleet_server.errors import NotFoundError
from fleet_server.registry.models import Device, Line
from fleet_server.registry.rules import Policy, read_policy
from fleet_server.telemetry.models import StreamPosition
from fleet_server.telemetry.service import server_event


def add_device(
    session: Session,
    now: float,
    actor: str,
    name: str,
    certificate_pem: str,
    *,
    hardware: str = "",
    site: str = "",
    line: str | None = None,
) -> Device:
    """Registers a device. Raises ConfigError for a name that is none, StateError for a taken one."""
    if not is_device(name):
        raise ConfigError(
            "that cannot be a device's name",
            expected="1 to 64 letters, digits, - or _, and none of server, all, enrol",
            found=name[:80],
        )
    if session.get(Device, name):
        raise StateError(f"device {name} is registered already", remedy="Choose another name.")
    device = Device(
        name=name,
        certificate_pem=certificate_pem,
        hardware=hardware,
        site=site,
        line=line,
        added_at=now,
    )
    session.add(device)
    record(session, now, actor, "device.add", name, {"hardware": hardware, "line": line})
    return device


def find_device(session: Session, name: str) -> Device:
    """Raises NotFoundError for a device that is not registered."""
    device = session.get(Device, name)
    if device is None:
        raise NotFoundError(f"no device is called {name[:80]!r}")
    return device


def list_devices(session: Session, line: str | None = None) -> list[Device]:
    """By name."""
    query = select(Device).order_by(col(Device.name))
    return list(session.exec(query.where(Device.line == line) if line else query))


def put_line(
    session: Session,
    now: float,
    actor: str,
    name: str,
    *,
    training_config: str,
    policy: object,
    epoch: int = 1,
) -> Line:
    """Adds a line, or changes its configuration and policy.

    Raises ConfigError for a name, a TOML text or a policy that is none.
    """
    _check_line(name, training_config)
    checked = read_policy(policy)
    line = session.get(Line, name) or Line(name=name, added_at=now)
    line.training_config, line.epoch = training_config, epoch
    line.policy = checked.model_dump(mode="json")
    session.add(line)
    record(session, now, actor, "line.put", name, {"policy": line.policy, "epoch": epoch})
    return line


def _check_line(name: str, training_config: str) -> None:
    if not re.fullmatch(LINE_PATTERN[1:-1], name):
        raise ConfigError(
            "that cannot be a line's name",
            expected="lower-case letters, digits and -, at most 63",
            found=name[:80],
        )
    try:
        tomllib.loads(training_config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("the training configuration is not TOML", found=str(error)) from error


def find_line(session: Session, name: str) -> Line:
    """Raises NotFoundError for a line that is not there."""
    line = session.get(Line, name)
    if line is None:
        raise NotFoundError(
            f"no line is called {name[:80]!r}", remedy="Add it with `loupe line add`."
        )
    return line


def list_lines(session: Session) -> list[Line]:
    """By name."""
    return list(session.exec(select(Line).order_by(col(Line.name))))


def policy_of(line: Line) -> Policy:
    """The line's policy."""
    return read_policy(line.policy)


def set_champion(session: Session, now: float, actor: str, line: str, digest: str) -> None:
    """The line's accepted bundle from now on."""
    row = find_line(session, line)
    row.champion = digest
    session.add(row)
    record(session, now, actor, "line.champion", line, {"digest": digest})


def set_dataset(session: Session, now: float, actor: str, line: str, digest: str) -> None:
    """The line's latest dataset version from now on."""
    row = find_line(session, line)
    row.dataset = digest
    session.add(row)
    record(session, now, actor, "line.dataset", line, {"digest": digest})


def link_changed(session: Session, device: Device, status: LinkStatus, now: float) -> bool:
    """Notes online or offline; True where the device is (again) online.

    A last will of an earlier connection says nothing about the present one.
    """
    if not status.online and status.connection_id != device.connection_id:
        return False
    device.online, device.connection_id = status.online, status.connection_id
    if status.online:
        device.last_seen = now
    session.add(device)
    return status.online


def heartbeat(session: Session, device: Device, beat: Heartbeat, now: float) -> None:
    """Notes the device's health."""
    device.heartbeat, device.last_seen = beat.model_dump(mode="json"), now
    session.add(device)


def state_reported(
    session: Session, device: Device, signed: SignedState, now: float
) -> DeviceState | None:
    """Takes the device's signed state; None where it is the one that is known already.

    Raises TrustError for a wrong signature, another name, or a counter that goes back.
    """
    if signed.payload == device.state_payload:
        return None
    state = verify_state(
        signed, _public_key(device), device=device.name, last_counter=device.last_state_counter
    )
    device.last_state_counter, device.state_payload = state.counter, signed.payload
    device.state, device.last_seen = state.model_dump(mode="json"), now
    device.hardware = state.hardware
    if device.line is None and state.lines:
        device.line = next(iter(state.lines))
    session.add(device)
    return state


def _public_key(device: Device) -> ec.EllipticCurvePublicKey:
    key = x509.load_pem_x509_certificate(device.certificate_pem.encode()).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TrustError(f"the certificate of {device.name} has no key of the expected kind")
    return key


def spool_seen(session: Session, device: Device, spool_id: str, now: float) -> None:
    """Notes which spool reports; a spool that comes back after another one is a clone.

    Called before anything of the spool is stored. A re-installed device has a new spool and the old
    one never speaks again; two devices with one identity take turns.
    """
    if device.spool_id == spool_id:
        return
    known = session.exec(
        select(StreamPosition)
        .where(StreamPosition.device == device.name, StreamPosition.spool_id == spool_id)
        .limit(1)
    ).first()
    spools = {"before": device.spool_id, "now": spool_id}
    if known and device.spool_id and device.clone_since is None:
        device.clone_since = now
        record(session, now, "rule:clone", "device.clone", device.name, spools)
        text = "Two agents report under this identity; stop one and enrol it under its own name."
        event = EventBody(kind="clone", severity="error", text=text, data=spools)
        server_event(session, device.name, now, event)
    elif device.spool_id and not known:
        record(session, now, f"device:{device.name}", "device.spool", device.name, spools)
    device.spool_id = spool_id
    session.add(device)


def clear_clone(session: Session, now: float, actor: str, name: str) -> Device:
    """A person says that one device reports under this name again."""
    device = find_device(session, name)
    if device.clone_since is None:
        raise StateError(f"device {name} is not held to be a clone")
    device.clone_since, device.spool_id = None, None
    session.add(device)
    record(session, now, actor, "device.clone_cleared", name)
    return device


def bad_message(session: Session, device: Device, topic: str, reason: str, now: float) -> None:
    """Counts a message that broke the contract; audited at the 1st, 2nd, 4th, 8th ... of a device."""
    device.bad_messages += 1
    device.last_bad = f"{topic}: {reason}"[:500]
    session.add(device)
    count = device.bad_messages
    if count & (count - 1) == 0:
        data: dict[str, Any] = {"count": count, "last": device.last_bad}
        record(session, now, "rule:ingest", "device.bad_message", device.name, data)
