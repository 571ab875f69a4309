"""The tables `[[outputs]]` and `[guard]` of the station's configuration."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge_agent.section import PlantBroker, Section
from fleet_contract.units import Seconds


class GuardConfig(Section):
    """The process that holds the outputs."""

    silence: Seconds = Field(default=2.0, ge=0.5)
    """An agent that is not heard for this long is taken for stopped: ready ends."""


class JsonlOutput(Section):
    """Each verdict as a line of a file."""

    kind: Literal["jsonl"]
    file: Path = Path("verdicts.jsonl")


class ModbusOutput(Section):
    """Registers and coils of a PLC, over Modbus/TCP."""

    kind: Literal["modbus"]
    host: str
    port: int = Field(default=502, ge=1, le=65535)
    unit: int = Field(default=1, ge=0, le=255)
    registers: int = Field(default=0, ge=0, le=65535)
    """First holding register of the block, counted from 0."""
    coils: int | None = Field(default=None, ge=0, le=65535)
    """First coil, counted from 0; none: registers alone."""
    hold: Seconds = Field(default=0.5, gt=0)
    """How long a verdict stands, unless the next takes its place."""
    heartbeat: Seconds = Field(default=0.5, ge=0.05)
    timeout: Seconds = Field(default=0.5, ge=0.05)
    """A PLC that does not answer for this long is lost."""


class GpioOutput(Section):
    """Lines of a GPIO chip: each verdict a pulse."""

    kind: Literal["gpio"]
    chip: str = "/dev/gpiochip0"
    ready: int | None = Field(default=None, ge=0)
    accept: int = Field(ge=0)
    reject: int = Field(ge=0)
    active_low: bool = False
    hold: Seconds = Field(default=0.05, ge=0.001)
    """Width of a pulse."""
    gap: Seconds = Field(default=0.01, ge=0.005)
    """Shortest rest between two pulses."""


class MqttOutput(PlantBroker):
    """Messages to a broker of the plant."""

    kind: Literal["mqtt"]
    topic: str = Field(pattern=r"^[^#+]+[^#+/]$")
    """The output publishes `{topic}/verdict` and `{topic}/ready`."""
    client: str = "loupe-output"
    """Its client id, which must be its own at that broker."""
    timeout: Seconds = Field(default=2.0, ge=0.1)


class HttpOutput(Section):
    """A server that is called back with each verdict."""

    kind: Literal["http"]
    url: str = Field(pattern=r"^https?://[^/]+")
    timeout: Seconds = Field(default=2.0, ge=0.1)


GuardedOutput = ModbusOutput | GpioOutput | MqttOutput | HttpOutput
OutputConfig = Annotated[JsonlOutput | GuardedOutput, Field(discriminator="kind")]
