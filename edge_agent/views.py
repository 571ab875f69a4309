"""Which views make one part, and how they make one verdict. Rules only: values in.

A part is seen in one view or in several: frames of one camera for one trigger (a burst, or one for
each step of a light), frames of several cameras for the same trigger, or both. The source numbers
views from 0, camera by camera, and gives each of a part's views exactly once: where no frame came,
with the reason. Views are judged as they come, all by the bundle that judged the first; with the
last one the part ends, in one verdict. Its time counts from the first. Windows are kept view by
view: pictures under another light or from another side have other statistics.
"""

from dataclasses import dataclass
from typing import Literal

Rule = Literal["any_rejects", "mean_score", "max_score"]


@dataclass(frozen=True, slots=True)
class View:
    """One of a part's pictures."""

    name: str
    """In windows, verdicts and samples: the camera's, where it gives one frame for a part."""
    camera: str
    recipe: str = ""
    """What the bundle calls this view's own limits."""
    mm_per_pixel: float | None = None
    """By the camera's calibration; None: as the bundle says."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The views of every part, and the rule that makes their verdicts one."""

    views: tuple[View, ...]
    rule: Rule = "any_rejects"
    needed: int = 1
    """Views that must be judged, or the part is no_decision: all of them unless set."""

    @property
    def several(self) -> bool:
        """Whether a part has more than one view."""
        return len(self.views) > 1

    def recipe(self, view: int, recipe: str) -> str:
        """By what a view is judged: the part's recipe, the view's own, or `part.view`."""
        return ".".join(word for word in (recipe, self.views[view].recipe) if word)

    @property
    def scales(self) -> dict[str, float]:
        """Millimetres of a pixel, by camera, where the station is calibrated."""
        return {view.camera: view.mm_per_pixel for view in self.views if view.mm_per_pixel}

    @property
    def uncalibrated(self) -> list[str]:
        """Cameras of which the station does not know how large a pixel is."""
        return sorted({view.camera for view in self.views if view.mm_per_pixel is None})

    def enough_without(self, cameras: set[str]) -> bool:
        """Whether parts can be decided while these cameras are away."""
        return sum(view.camera not in cameras for view in self.views) >= self.needed


def one_view(camera: str) -> Plan:
    """Of a station with one camera that gives one frame for a part."""
    return Plan((View(camera, camera),))
