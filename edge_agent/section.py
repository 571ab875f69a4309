"""What tables of the station's configuration have in common."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fleet_contract.units import Seconds


class Section(BaseModel):
    """A table of the file: immutable, and a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PlantBroker(Section):
    """A broker of the plant, which is not the fleet's."""

    host: str
    port: int = Field(default=1883, ge=1, le=65535)
    ca: Path | None = None
    """The authority of the broker's certificate; none: no TLS."""
    user: str = ""
    password_file: Path | None = None


class PlantTopic(PlantBroker):
    """A topic of such a broker, and who listens to it."""

    topic: str = Field(pattern=r"^[^#+]+$")
    client: str
    """Its client id, which must be its own at that broker."""


class PlantCoil(Section):
    """A coil that the PLC sets, and the agent clears, over Modbus/TCP."""

    host: str
    port: int = Field(default=502, ge=1, le=65535)
    unit: int = Field(default=1, ge=0, le=255)
    coil: int = Field(ge=0, le=65535)
    """Counted from 0."""
    poll: Seconds = Field(default=0.01, ge=0.001, le=10)
    """How often the coil is read."""
    wait: Seconds = Field(default=0.5, ge=0.05)
    """A PLC that does not answer for this long is lost."""
