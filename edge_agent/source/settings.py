"""[source] of the station's configuration: one table a kind of source."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge_agent.section import Section
from edge_agent.trigger.settings import RecipeName
from fleet_contract.names import Id
from fleet_contract.units import Bytes, Hertz, Seconds

Depth = Literal[8, 16]


class CameraSection(Section):
    """What all sources have in common."""

    camera: Id = "cam-1"
    mm_per_pixel: float | None = Field(default=None, gt=0)
    """By `loupe-agent calibrate`: goes before the bundle's for limits in mm."""


class LineCameraSource(CameraSection):
    """A camera with numbered triggers and a buffer, over HTTP."""

    kind: Literal["line_camera"]
    url: str = Field(pattern=r"^http://[^/]+$")
    channels: Literal[1, 3] = 3
    depth: Depth = 8
    timeout: Seconds = Field(default=5.0, ge=0.2)
    """A camera that does not answer for this long is lost."""


class FolderSource(CameraSection):
    """Image files in the order of their names, at a rate."""

    kind: Literal["folder"]
    path: Path
    rate: Hertz = Field(default=4.0, gt=0)
    pattern: str = "*.png"
    channels: Literal[1, 3] = 3
    depth: Depth = 8
    repeat: bool = False


class VideoSource(CameraSection):
    """The frames of a video file in their order, at a rate."""

    kind: Literal["video"]
    path: Path
    rate: Hertz = Field(default=4.0, gt=0)
    channels: Literal[1, 3] = 3
    repeat: bool = False


class LiveSection(CameraSection):
    """What all cameras have in common that send by themselves."""

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


class ControlsConfig(Section):
    """A camera's controls; what is left out is left as it is. A value turns its automatic off."""

    auto_exposure: bool | None = None
    exposure: Seconds | None = Field(default=None, gt=0)
    auto_gain: bool | None = None
    gain: float | None = None
    auto_white_balance: bool | None = None
    white_balance: int | None = Field(default=None, gt=0)
    """In kelvin."""
    auto_focus: bool | None = None
    focus: int | None = None
    check_every: Seconds = Field(default=5.0, ge=0.1)
    """How often to look whether one moved."""

    @model_validator(mode="after")
    def _no_value_under_an_automatic(self) -> Self:
        for name in ("exposure", "gain", "white_balance", "focus"):
            if getattr(self, name) is not None and getattr(self, f"auto_{name}"):
                raise ValueError(f"either {name} or auto_{name} = true: a camera does one of them")
        return self


class V4l2Source(LiveSection):
    """A camera of the kernel, such as a USB camera."""

    kind: Literal["v4l2"]
    device: str = Field(default="/dev/video0", pattern=r"^/dev/")
    width: int | None = Field(default=None, ge=8)
    height: int | None = Field(default=None, ge=8)
    """Both or none: the camera's own."""
    rate: Hertz | None = Field(default=None, gt=0)
    format: str | None = Field(default=None, pattern=r"^[A-Z0-9]{4}$")
    """The four letters of how it sends its pixels; none: the camera's own."""
    controls: ControlsConfig = ControlsConfig()

    @model_validator(mode="after")
    def _both_sides(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height, or neither")
        return self


class GigeSource(LiveSection):
    """A GigE Vision camera."""

    kind: Literal["gige"]
    address: str
    """Its IP address, or its name in Aravis."""
    pixel_format: str | None = None
    """By GenICam's names, such as Mono8, BayerRG8, RGB8; none: the camera's own."""
    region: tuple[int, int, int, int] | None = None
    """x, y, width, height in pixels of the sensor; none: the camera's own."""
    rate: Hertz | None = Field(default=None, gt=0)
    controls: ControlsConfig = ControlsConfig()


class PushSource(CameraSection):
    """Images that another program sends by HTTP: POST /parts."""

    kind: Literal["push"]
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    """0 takes any free one."""
    channels: Literal[1, 3] = 3
    depth: Depth = 8
    queue: int = Field(default=16, ge=1, le=1000)
    """Images that may wait for the inspection; more are refused with 503."""
    max_image: Bytes = Field(default=32_000_000, ge=1000, le=256_000_000)


class PartConfig(Section):
    """What one part is made of, and how its views make one verdict."""

    frames: int = Field(default=1, ge=1, le=32)
    """Of each camera, for one trigger."""
    spacing: Seconds = Field(default=0.0, le=60)
    """From one frame to the next, at least: for a part that moves, or light that follows a clock."""
    timeout: Seconds = Field(default=0.5, ge=0.01, le=60)
    """A view that comes no sooner after the one before it is missing."""
    rule: Literal["any_rejects", "mean_score", "max_score"] = "any_rejects"
    views_needed: int | None = Field(default=None, ge=1)
    """With fewer the part is no_decision; none: all of them."""
    recipes: dict[Id, RecipeName] = Field(default={}, max_length=256)
    """By the view's name: what the bundle calls its limits."""


class RecipeConfig(Section):
    """What a recipe moves at the station, before the part's first frame is taken."""

    settle: Seconds = Field(default=0.0, le=60)
    """From the change until frames show it."""
    skip: int = Field(default=1, ge=0, le=100)
    """Frames that are passed over after it: exposed before, and still on their way."""
    controls: dict[Id, ControlsConfig] = Field(min_length=1, max_length=32)
    """By the camera's id."""


LiveConfig = MjpegSource | RtspSource | V4l2Source | GigeSource
CameraConfig = Annotated[LiveConfig, Field(discriminator="kind")]
SourceConfig = Annotated[
    LineCameraSource | FolderSource | VideoSource | PushSource | LiveConfig,
    Field(discriminator="kind"),
]
