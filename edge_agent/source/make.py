"""The source that the configuration asks for."""

from edge_agent.source.base import Source
from edge_agent.source.folder import FolderSource
from edge_agent.source.line_camera import LineCamera
from edge_agent.source.settings import FolderSource as FolderConfig
from edge_agent.source.settings import LineCameraSource
from fleet_contract.clock import Clock


def make_source(config: LineCameraSource | FolderConfig, clock: Clock) -> Source:
    """Raises ConfigError for a folder without images."""
    if isinstance(config, LineCameraSource):
        return LineCamera(config.url, config.channels, config.timeout, clock, config.depth)
    return FolderSource(
        config.path,
        pattern=config.pattern,
        rate_hz=config.rate,
        channels=config.channels,
        depth=config.depth,
        repeat=config.repeat,
        clock=clock,
    )
