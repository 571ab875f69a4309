"""How large a line's frames are looked at, chosen from its data: the graph's size, tiles, levels."""

import math
from dataclasses import dataclass

from fleet_contract.dataset import GOOD, DatasetVersion
from fleet_contract.manifest import InputSchema, Preprocess, Tiling
from trainer.config import InputTable
from trainer.data.statistics import DatasetStatistics

_WANTED_DEFECT = 8.0
"""Pixels that the shorter side of a small defect shall have on the canvas: two cells of the mask."""
_LEAST_SIDE, _MOST_SIDE = 256, 384
"""Of one view's longer side; a canvas that is larger is cut into tiles."""
_LARGEST_CANVAS = 4096
_TILE, _OVERLAP = 288, 64
_STEP = 32
_MARGIN = 0.25
"""Light may fall to a quarter of the darkest training image before a frame is refused, and the room
to white shrink to a quarter above the brightest."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What was chosen, and why."""

    schema: InputSchema
    preprocess: Preprocess
    why: str


def choose(table: InputTable, version: DatasetVersion, facts: DatasetStatistics) -> Geometry:
    """From the line's configuration; what it leaves to `auto` is chosen from the data."""
    channels = table.channels or version.channels
    height, width, tiling, why = _size(table, facts)
    schema = InputSchema(
        channels=channels, depth=version.depth, min_side=table.min_side, max_side=table.max_side,
        grey_range=table.grey_range or _grey_range(facts),
    )  # fmt: skip
    levels = None if version.depth == 8 else table.levels or (0, 2**16 - 1)
    spec = Preprocess(
        height=height, width=width, channel_order="grey" if channels == 1 else "rgb",
        levels=levels, tiling=tiling,
    )  # fmt: skip
    return Geometry(schema, spec, why)


def _size(table: InputTable, facts: DatasetStatistics) -> tuple[int, int, Tiling | None, str]:
    if table.height is not None and table.width is not None:
        rows, columns = table.tiles
        tiling = None
        if rows * columns > 1:
            tiling = Tiling(rows=rows, columns=columns, overlap=table.overlap)
        return table.height, table.width, tiling, "as the configuration says"
    if facts.image_sides is None:
        return _LEAST_SIDE, _LEAST_SIDE, None, "no image could be read"
    high, wide = facts.image_sides.height.p50, facts.image_sides.width.p50
    defect = smallest_defect(facts)
    scale = canvas_scale(high, wide, defect)
    because = (
        "no defect's place is known" if defect is None
        else f"small defects are {defect:.0f} pixels across in images of {wide:.0f}x{high:.0f}"
    )  # fmt: skip
    high, wide = high * scale, wide * scale
    if max(high, wide) <= _MOST_SIDE:
        height, width = _stepped(high), _stepped(wide)
        return height, width, None, f"one view of {width}x{height}: {because}"
    rows, columns = _tiles(high), _tiles(wide)
    tiling = Tiling(rows=rows, columns=columns, overlap=_OVERLAP)
    why = f"{columns}x{rows} tiles of {_TILE}x{_TILE}, and the whole: {because}"
    return _TILE, _TILE, tiling, why


def smallest_defect(facts: DatasetStatistics) -> float | None:
    """Pixels of the shorter side that a tenth of the defects of some class stay below."""
    return min((defect.short_side_p10 for defect in facts.defects), default=None)


def canvas_scale(high: float, wide: float, defect: float | None) -> float:
    """Of the canvas to the frame: as small as small defects allow, never finer than the frame.

    Where no defect's place is known the frame keeps its size, up to four views' width.
    """
    longest = max(high, wide)
    if longest <= _LEAST_SIDE:
        return _LEAST_SIDE / longest
    if defect is None:
        return min(1.0, 4 * _TILE / longest)
    wanted = min(_WANTED_DEFECT / max(defect, 1.0), 1.0)
    least, most = _LEAST_SIDE / longest, min(1.0, _LARGEST_CANVAS / longest)
    scale = min(max(wanted, least), most)
    # A canvas that is a little too large for one view is worth shrinking: tiles cost five times as much.
    one_view = _MOST_SIDE / longest
    return one_view if one_view < scale <= 1.25 * one_view else scale


def _tiles(side: float) -> int:
    return max(1, min(32, math.ceil((side - _OVERLAP) / (_TILE - _OVERLAP))))


def _stepped(side: float) -> int:
    return max(_STEP * 2, round(side / _STEP) * _STEP)


def _grey_range(facts: DatasetStatistics) -> tuple[float, float]:
    if facts.light is None:
        return 0.0, 255.0
    low, high = facts.light.mean.min, facts.light.mean.max
    return round(low * _MARGIN, 1), round(255 - (255 - high) * _MARGIN, 1)


def classes(version: DatasetVersion) -> list[str]:
    """The classes of defect, sorted, those of regions included."""
    labels = {item.label for item in version.items}
    labels |= {region.label for item in version.items for region in item.regions}
    return sorted(labels - {GOOD})
