"""[judge] of the station's configuration: whence the verdicts of those come who judge today."""

from typing import Annotated, Literal

from pydantic import Field

from edge_agent.section import PlantCoil, PlantTopic, Section
from fleet_contract.units import Seconds


class JudgeSection(Section):
    """What all of them have in common."""

    within: Seconds = Field(default=10.0, ge=0.1, le=3600)
    """A part and a verdict that come further apart do not belong together."""


class HttpJudge(JudgeSection):
    """A program of the line: POST /verdicts."""

    kind: Literal["http"]
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    """0 takes any free one."""


class MqttJudge(PlantTopic, JudgeSection):
    """Messages from a broker of the plant."""

    kind: Literal["mqtt"]
    client: str = "loupe-judge"


class ModbusJudge(PlantCoil, JudgeSection):
    """A coil that the PLC sets once a verdict lies in a register, and the agent clears."""

    kind: Literal["modbus"]
    verdict_register: int = Field(ge=0, le=65535)
    """A holding register with the verdict, counted from 0: 1 accept, 2 reject."""


JudgeConfig = Annotated[HttpJudge | MqttJudge | ModbusJudge, Field(discriminator="kind")]
