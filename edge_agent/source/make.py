"""The source that the configuration asks for."""

from collections.abc import Callable

from edge_agent.source.aravis import Aravis
from edge_agent.source.base import FrameCounts, Source
from edge_agent.source.camera import Camera
from edge_agent.source.controls import ControlKeeper, Kept
from edge_agent.source.folder import Folder
from edge_agent.source.gige import GigeCamera
from edge_agent.source.line_camera import LineCamera
from edge_agent.source.live import LiveSource
from edge_agent.source.mjpeg import MjpegCamera
from edge_agent.source.numbers import Numbers
from edge_agent.source.opencv import rtsp_camera
from edge_agent.source.parts import FreeRun, LineTriggered, Parts, Signalled
from edge_agent.source.push import PushSource
from edge_agent.source.replay import Replay
from edge_agent.source.settings import (
    FolderSource,
    GigeSource,
    LineCameraSource,
    LiveConfig,
    MjpegSource,
    SourceConfig,
    V4l2Source,
    VideoSource,
)
from edge_agent.source.settings import PushSource as PushConfig
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
) -> Source:
    """`numbers` is for sources whose camera counts none; without it they count from 1.

    Raises ConfigError for a folder or file without images, ResourceError for a port that is taken
    or a library that is not there.
    """
    numbers = numbers or Numbers()
    if isinstance(config, LineCameraSource):
        return LineCamera(config.url, config.channels, config.timeout, clock, config.depth)
    if isinstance(config, FolderSource | VideoSource):
        return _replay(config, clock)
    if isinstance(config, PushConfig):
        return PushSource(
            config.host, config.port, clock, channels=config.channels, depth=config.depth,
            queue=config.queue, max_image=config.max_image, numbers=numbers,
        )  # fmt: skip
    signals = make_trigger(trigger, clock, tell) if isinstance(trigger, SignalConfig) else None
    return LiveSource(
        _connector(config, trigger, clock, tell),
        _parts(config, trigger, counts, numbers),
        numbers,
        signals,
        clock,
        max_age_s=config.max_age,
        idle_is_life=isinstance(trigger, CameraTrigger),
    )


def _parts(
    config: LiveConfig, trigger: TriggerConfig, counts: FrameCounts, numbers: Numbers
) -> Parts:
    if isinstance(trigger, CameraTrigger):
        return LineTriggered(config.queue, counts, numbers)
    if isinstance(trigger, FreeTrigger):
        return FreeRun(config.queue, counts, numbers, trigger.rate)
    return Signalled(config.queue, counts, numbers, trigger.delay, trigger.timeout)


def _replay(config: FolderSource | VideoSource, clock: Clock) -> Replay:
    if isinstance(config, FolderSource):
        pictures: Folder | Video = Folder(
            config.path, config.pattern, config.channels, config.depth
        )
    else:
        pictures = Video(config.path, config.channels)
    return Replay(pictures, rate_hz=config.rate, repeat=config.repeat, clock=clock)


def _connector(
    config: LiveConfig, trigger: TriggerConfig, clock: Clock, tell: Tell
) -> Callable[[], Camera]:
    if isinstance(config, V4l2Source):
        return lambda: Kept(V4l2Camera(config, clock), ControlKeeper(config.controls, clock, tell))
    if isinstance(config, GigeSource):
        aravis = Aravis()
        line = trigger.line if isinstance(trigger, CameraTrigger) else None
        return lambda: Kept(
            GigeCamera(aravis, config, line, clock), ControlKeeper(config.controls, clock, tell)
        )
    # A library's own timeout comes after the watchdog: it ends a reader that was given up.
    limit_s = 2 * config.max_age
    if isinstance(config, MjpegSource):
        return lambda: MjpegCamera(config.url, config.channels, limit_s, clock)
    return lambda: rtsp_camera(config.url, config.channels, limit_s, clock)
