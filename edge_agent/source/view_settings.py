"""[part], [[cameras]] and [recipes] of the station's configuration: what fits together. Pure."""

from collections.abc import Mapping, Sequence

from edge_agent.source.settings import (
    CameraConfig,
    FolderSource,
    GigeSource,
    LiveConfig,
    PartConfig,
    PushSource,
    RecipeConfig,
    SourceConfig,
    V4l2Source,
    VideoSource,
)
from edge_agent.trigger.settings import FreeTrigger, SignalConfig, TriggerConfig
from edge_agent.views import Plan, View
from fleet_contract.messages import VIEW_LENGTH


def names(
    source: SourceConfig, cameras: Sequence[CameraConfig], frames: int
) -> list[tuple[str, str]]:
    """Name and camera of each view: the camera's id, with a number from 1 where it gives several."""
    ids = [source.camera, *(one.camera for one in cameras)]
    if frames == 1:
        return [(one, one) for one in ids]
    return [(f"{one}.{number}", one) for one in ids for number in range(1, frames + 1)]


def plan_of(source: SourceConfig, cameras: Sequence[CameraConfig], part: PartConfig) -> Plan:
    """The views of each part."""
    scales = {one.camera: one.mm_per_pixel for one in (source, *cameras)}
    views = tuple(
        View(name, camera, part.recipes.get(name, ""), scales[camera])
        for name, camera in names(source, cameras, part.frames)
    )
    return Plan(views, part.rule, part.views_needed or len(views))


def check_views(
    source: SourceConfig,
    cameras: Sequence[CameraConfig],
    trigger: TriggerConfig,
    part: PartConfig,
    deadline_s: float,
) -> None:
    """Raises ValueError where no part could ever be seen so, or judged in time."""
    if cameras and not isinstance(trigger, SignalConfig):
        raise ValueError(
            "several cameras make one part by a trigger to all: http, mqtt, modbus or gpio"
        )
    if part.frames > 1 and isinstance(source, PushSource):
        raise ValueError("one frame: each image that is pushed is a part")
    if part.frames > 1 and isinstance(source, LiveConfig) and isinstance(trigger, FreeTrigger):
        raise ValueError("one frame: in free run each frame is a part; several need a trigger")
    small = [
        one.camera for one in (source, *cameras)
        if isinstance(one, LiveConfig) and one.queue < part.frames
    ]  # fmt: skip
    if small:
        raise ValueError(f"no more frames than may wait: set queue of {', '.join(small)}")
    spacing_s = 1 / source.rate if isinstance(source, FolderSource | VideoSource) else part.spacing
    if (part.frames - 1) * spacing_s >= deadline_s:
        raise ValueError(
            f"frames that come before the line's deadline, {deadline_s:g} s after the first: "
            f"the last comes {(part.frames - 1) * spacing_s:g} s after it"
        )
    known = [name for name, _ in names(source, cameras, part.frames)]
    if max(map(len, known)) > VIEW_LENGTH:
        raise ValueError(f"views with names of at most {VIEW_LENGTH} characters: shorten camera")
    if (part.views_needed or 1) > len(known):
        raise ValueError(f"views_needed of at most {len(known)}: there are no more views")
    unknown = part.recipes.keys() - set(known)
    if unknown:
        raise ValueError(
            f"recipes of views: {', '.join(known)}; found {', '.join(sorted(unknown))}"
        )


def check_recipes(
    source: SourceConfig,
    cameras: Sequence[CameraConfig],
    trigger: TriggerConfig,
    recipes: Mapping[str, RecipeConfig],
) -> None:
    """Raises ValueError where a recipe moves what cannot be moved."""
    if not isinstance(trigger, SignalConfig):
        raise ValueError("a trigger that can carry a recipe before the frame is taken")
    able = {one.camera for one in (source, *cameras) if isinstance(one, V4l2Source | GigeSource)}
    for name, recipe in recipes.items():
        unable = sorted(recipe.controls.keys() - able)
        if unable:
            raise ValueError(
                f"controls of cameras that have some ({', '.join(sorted(able)) or 'none here'});"
                f" recipe {name} sets {', '.join(unable)}"
            )
