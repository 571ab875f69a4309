"""[source] of the station's configuration: one table a kind of source."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge_agent.section import Section
from fleet_contract.names import Id
from fleet_contract.units import Hertz, Seconds

Depth = Literal[8, 16]


class LineCameraSource(Section):
    """A camera with numbered triggers and a buffer, over HTTP."""

    kind: Literal["line_camera"]
    url: str = Field(pattern=r"^http://[^/]+$")
    camera: Id = "cam-1"
    channels: Literal[1, 3] = 3
    depth: Depth = 8
    timeout: Seconds = Field(default=5.0, ge=0.2)
    """A camera that does not answer for this long is lost."""


class FolderSource(Section):
    """Image files in the order of their names, at a rate."""

    kind: Literal["folder"]
    path: Path
    rate: Hertz = Field(default=4.0, gt=0)
    pattern: str = "*.png"
    channels: Literal[1, 3] = 3
    depth: Depth = 8
    repeat: bool = False
    camera: Id = "cam-1"


SourceConfig = Annotated[LineCameraSource | FolderSource, Field(discriminator="kind")]
