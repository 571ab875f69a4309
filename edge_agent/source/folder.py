"""Image files of a folder as pictures to replay, in the order of their names."""

from pathlib import Path
from typing import Literal

from edge_agent.source.replay import PastEnd
from fleet_contract.errors import ConfigError, DataError
from fleet_contract.inference.preprocess import Frame, decode_image


class Folder:
    """Files of `path` that fit `pattern`."""

    def __init__(self, path: Path, pattern: str, channels: int, depth: Literal[8, 16] = 8) -> None:
        """Raises ConfigError for a folder without images."""
        self._files = sorted(path.glob(pattern))
        self._channels, self._depth = channels, depth
        if not self._files:
            raise ConfigError(
                f"no image in {path}", expected=f"files like {pattern}", remedy="Check source.path."
            )

    def picture(self, index: int) -> Frame | None:
        if index >= len(self._files):
            raise PastEnd(len(self._files))
        try:
            return decode_image(self._files[index].read_bytes(), self._channels, self._depth)
        except (DataError, OSError):
            return None

    def close(self) -> None:
        """Nothing is held."""
