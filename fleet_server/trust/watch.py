"""Tells people of metadata that expire soon: in the server's health, its log, and as an event, once."""

import logging

from sqlmodel import select

from fleet_contract.messages import EventBody
from fleet_server.registry.models import Device
from fleet_server.services import Services
from fleet_server.telemetry.models import EventRow
from fleet_server.telemetry.service import server_event
from fleet_server.trust.expiry import Expiring, expiring
from fleet_server.trust.repository import Lifetimes

log = logging.getLogger(__name__)

KIND = "trust.expiring"
SERVER = "server"
"""Stands for the device in events that are of none; no device may bear the name."""


def look(services: Services, lifetimes: Lifetimes | None = None) -> list[Expiring]:
    """What expires soon, the soonest first; kept as `services.expiring`, new ones as events."""
    now = services.clock.time()
    with services.database.read() as session:
        devices = list(session.exec(select(Device.name)))
    warn_s = services.config.trust.warn
    found = expiring(services.trust, devices, now, warn_s, lifetimes or Lifetimes())
    services.expiring[:] = [one.text(now) for one in found]
    _tell(services, found, now)
    return found


def _tell(services: Services, found: list[Expiring], now: float) -> None:
    if not found:
        return
    with services.database.write() as session:
        # By what was told, not by what this process remembers: a restart tells nothing twice.
        rows = session.exec(select(EventRow).where(EventRow.kind == KIND))
        told = {(row.device, row.data["role"], row.data["version"]) for row in rows}
        for one in found:
            device = one.device or SERVER
            key = (device, f"{one.repository} {one.role}", one.version)
            if key in told:
                continue
            log.warning("%s", one.text(now))
            data = {"role": key[1], "version": one.version, "expires_s": one.expires_s}
            severity = "warning" if one.expires_s > now else "error"
            event = EventBody(kind=KIND, severity=severity, text=one.text(now), data=data)
            server_event(session, device, now, event)
