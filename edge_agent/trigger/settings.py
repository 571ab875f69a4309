"""[trigger] of the station's configuration: one table a kind of trigger, before live cameras."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from edge_agent.section import PlantCoil, PlantTopic, Section
from fleet_contract.messages import NAME_LENGTH
from fleet_contract.units import Hertz, Seconds

RecipeName = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH)]


class FreeTrigger(Section):
    """Every frame is a part, or some a second."""

    kind: Literal["free"] = "free"
    rate: Hertz | None = Field(default=None, gt=0)
    """Parts a second at most; none: as many as the camera sends frames."""


class SignalSection(Section):
    """What all triggers have in common that come from outside the camera."""

    delay: Seconds = Field(default=0.0, le=60)
    """From the signal to the moment at which the part lies before the camera."""
    timeout: Seconds = Field(default=0.5, ge=0.01, le=60)
    """A part without a frame for this long after its delay ends without a picture."""


class HttpTrigger(SignalSection):
    """A program of the line: POST /triggers."""

    kind: Literal["http"]
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    """0 takes any free one."""


class MqttTrigger(PlantTopic, SignalSection):
    """Messages from a broker of the plant."""

    kind: Literal["mqtt"]
    client: str = "loupe-trigger"


class ModbusTrigger(PlantCoil, SignalSection):
    """A coil that the PLC sets for each part, and the agent clears."""

    kind: Literal["modbus"]
    recipe_register: int | None = Field(default=None, ge=0, le=65535)
    """A holding register with the recipe's number, counted from 0; 0 in it is no recipe."""
    recipes: dict[Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}$")], RecipeName] = (
        Field(default={}, max_length=256)
    )
    """Names by number. A number without a name is its own name, which no bundle knows."""


class GpioTrigger(SignalSection):
    """A line of a GPIO chip, such as a light barrier's."""

    kind: Literal["gpio"]
    chip: str = "/dev/gpiochip0"
    line: int = Field(ge=0)
    edge: Literal["rising", "falling"] = "rising"
    pull: Literal["none", "up", "down"] = "none"
    debounce: Seconds = Field(default=0.0, le=1)


class CameraTrigger(Section):
    """An input of the camera: each frame that it sends is a part."""

    kind: Literal["camera"]
    line: str = Field(default="Line1", min_length=1)
    """The input, by GenICam's names of trigger sources."""


SignalConfig = HttpTrigger | MqttTrigger | ModbusTrigger | GpioTrigger
TriggerConfig = Annotated[FreeTrigger | CameraTrigger | SignalConfig, Field(discriminator="kind")]
