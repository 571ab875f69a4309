"""The source that the configuration asks for."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from edge_agent.source.aravis import Aravis
from edge_agent.source.base import FrameCounts, Source
from edge_agent.source.camera import Camera
from edge_agent.source.controls import ControlKeeper, Kept
from edge_agent.source.folder import Folder
from edge_agent.source.gige import GigeCamera
from edge_agent.source.grouped import Grouped
from edge_agent.source.line_camera import LineCamera
from edge_agent.source.live import LiveSource
from edge_agent.source.mjpeg import MjpegCamera
from edge_agent.source.numbers import Numbers
from edge_agent.source.opencv import rtsp_camera
from edge_agent.source.parts import Burst, FreeRun, LineTriggered, Parts, Signalled
from edge_agent.source.push import PushSource
from edge_agent.source.replay import Replay
from edge_agent.source.set_by import SetBy, Settling
from edge_agent.source.settings import (
    CameraConfig,
    ControlsConfig,
    FolderSource,
    GigeSource,
    LineCameraSource,
    LiveConfig,
    MjpegSource,
    PartConfig,
    RecipeConfig,
    SourceConfig,
    V4l2Source,
    VideoSource,
)
from edge_agent.source.settings import PushSource as PushConfig
from edge_agent.source.supervised import Supervised
from edge_agent.source.v4l2 import V4l2Camera
from edge_agent.source.video import Video
from edge_agent.trigger.base import Tell
from edge_agent.trigger.make import make_trigger
from edge_agent.trigger.settings import CameraTrigger, FreeTrigger, SignalConfig, TriggerConfig
from fleet_contract.clock import Clock


def make_source(
    config: SourceConfig,
    trigger: TriggerConfig,
    clock: Clock,
    counts: FrameCounts,
    tell: Tell,
    numbers: Numbers | None = None,
    *,
    cameras: Sequence[CameraConfig] = (),
    part: PartConfig | None = None,
    recipes: Mapping[str, RecipeConfig] = MappingProxyType({}),
) -> Source:
    """`numbers` is for sources whose camera counts none; without it they count from 1.

    Raises ConfigError for a folder or file without images, ResourceError for a port that is taken
    or a library that is not there.
    """
    numbers, part = numbers or Numbers(), part or PartConfig()
    if isinstance(config, PushConfig):
        return PushSource(
            config.host, config.port, clock, channels=config.channels, depth=config.depth,
            queue=config.queue, max_image=config.max_image, numbers=numbers,
        )  # fmt: skip
    if not isinstance(config, LiveConfig):
        counted = _counted(config, clock)
        if part.frames == 1:
            return counted
        # Files come at their rate: the next one is not late before its time.
        period_s = 0.0 if isinstance(config, LineCameraSource) else 1 / config.rate
        return Grouped(counted, part.frames, part.timeout + period_s, clock)
    signals = make_trigger(trigger, clock, tell) if isinstance(trigger, SignalConfig) else None
    several = bool(cameras)
    made = [
        _supervised(one, trigger, clock, counts, tell, numbers, part, recipes, several=several)
        for one in (config, *cameras)
    ]
    return LiveSource(made, numbers, signals, clock, frames=part.frames)


def _counted(config: LineCameraSource | FolderSource | VideoSource, clock: Clock) -> Source:
    if isinstance(config, LineCameraSource):
        return LineCamera(config.url, config.channels, config.timeout, clock, config.depth)
    if isinstance(config, FolderSource):
        pictures: Folder | Video = Folder(
            config.path, config.pattern, config.channels, config.depth
        )
    else:
        pictures = Video(config.path, config.channels)
    return Replay(pictures, rate_hz=config.rate, repeat=config.repeat, clock=clock)


def _supervised(
    config: LiveConfig,
    trigger: TriggerConfig,
    clock: Clock,
    counts: FrameCounts,
    tell: Tell,
    numbers: Numbers,
    part: PartConfig,
    recipes: Mapping[str, RecipeConfig],
    *,
    several: bool,
) -> Supervised:
    own = {name: one for name, one in recipes.items() if config.camera in one.controls}
    set_by = SetBy({name: Settling(one.settle, one.skip) for name, one in own.items()})
    controls = {name: one.controls[config.camera] for name, one in own.items()}
    return Supervised(
        _connector(config, trigger, clock, tell, controls),
        _parts(config, trigger, counts, numbers, part, set_by),
        clock,
        max_age_s=config.max_age,
        idle_is_life=isinstance(trigger, CameraTrigger),
        name=config.camera if several else "",
        set_by=set_by,
    )


def _parts(
    config: LiveConfig,
    trigger: TriggerConfig,
    counts: FrameCounts,
    numbers: Numbers,
    part: PartConfig,
    set_by: SetBy,
) -> Parts:
    burst = Burst(part.frames, part.spacing, part.timeout)
    if isinstance(trigger, CameraTrigger):
        return LineTriggered(config.queue, counts, numbers, burst)
    if isinstance(trigger, FreeTrigger):
        return FreeRun(config.queue, counts, numbers, trigger.rate)
    return Signalled(config.queue, counts, trigger.delay, trigger.timeout, burst, set_by)


def _connector(
    config: LiveConfig,
    trigger: TriggerConfig,
    clock: Clock,
    tell: Tell,
    recipes: Mapping[str, ControlsConfig],
) -> Callable[[], Camera]:
    if isinstance(config, V4l2Source):
        return lambda: Kept(
            V4l2Camera(config, clock), ControlKeeper(config.controls, clock, tell, recipes)
        )
    if isinstance(config, GigeSource):
        aravis = Aravis()
        line = trigger.line if isinstance(trigger, CameraTrigger) else None
        return lambda: Kept(
            GigeCamera(aravis, config, line, clock),
            ControlKeeper(config.controls, clock, tell, recipes),
        )
    # A library's own timeout comes after the watchdog: it ends a reader that was given up.
    limit_s = 2 * config.max_age
    if isinstance(config, MjpegSource):
        return lambda: MjpegCamera(config.url, config.channels, limit_s, clock)
    return lambda: rtsp_camera(config.url, config.channels, limit_s, clock)
