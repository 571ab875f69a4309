"""[source] of the station's configuration: one table a kind of source."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge_agent.section import Section
from fleet_contract.names import Id
from fleet_contract.units import Bytes, Hertz, Seconds

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


class VideoSource(Section):
    """The frames of a video file in their order, at a rate."""

    kind: Literal["video"]
    path: Path
    rate: Hertz = Field(default=4.0, gt=0)
    channels: Literal[1, 3] = 3
    repeat: bool = False
    camera: Id = "cam-1"


class LiveSection(Section):
    """What all cameras have in common that send by themselves."""

    camera: Id = "cam-1"
    channels: Literal[1, 3] = 3
    queue: int = Field(default=4, ge=1, le=1000)
    """Frames that may wait for the inspection."""
    max_age: Seconds = Field(default=2.0, ge=0.1, le=600)
    """Without a new frame for this long the camera is lost, whatever its library says."""


class MjpegSource(LiveSection):
    """A network camera that sends JPEG after JPEG in one HTTP answer."""

    kind: Literal["mjpeg"]
    url: str = Field(pattern=r"^http://[^/\s]+(/\S*)?$")


class RtspSource(LiveSection):
    """A network camera by RTSP, over TCP."""

    kind: Literal["rtsp"]
    url: str = Field(pattern=r"^rtsps?://[^/\s]+(/\S*)?$")


class PushSource(Section):
    """Images that another program sends by HTTP: POST /parts."""

    kind: Literal["push"]
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    """0 takes any free one."""
    camera: Id = "cam-1"
    channels: Literal[1, 3] = 3
    depth: Depth = 8
    queue: int = Field(default=16, ge=1, le=1000)
    """Images that may wait for the inspection; more are refused with 503."""
    max_image: Bytes = Field(default=32_000_000, ge=1000, le=256_000_000)


LiveConfig = MjpegSource | RtspSource
SourceConfig = Annotated[
    LineCameraSource | FolderSource | VideoSource | PushSource | LiveConfig,
    Field(discriminator="kind"),
]
