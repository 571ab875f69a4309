"""Every table in one registry: importing this module fills `SQLModel.metadata`."""

from sqlmodel import SQLModel

from fleet_server.audit import models as audit
from fleet_server.distribution import models as distribution
from fleet_server.drift import models as drift
from fleet_server.labels import models as labels
from fleet_server.registry import models as registry
from fleet_server.releases import models as releases
from fleet_server.rollouts import models as rollouts
from fleet_server.runs import models as runs
from fleet_server.telemetry import models as telemetry

metadata = SQLModel.metadata

__all__ = [
    "audit",
    "distribution",
    "drift",
    "labels",
    "metadata",
    "registry",
    "releases",
    "rollouts",
    "runs",
    "telemetry",
]
