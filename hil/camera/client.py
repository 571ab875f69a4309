"""The bench port from Python."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import cv2
import httpx
import numpy as np

from fleet_contract.errors import ConfigError, ResourceError
from hil.render.spec import Defect, Mask


@dataclass(frozen=True)
class PartTruth:
    """What is true about the part of one trigger."""

    trigger: int
    defective: bool
    defects: tuple[Defect, ...]


class Bench:
    """A client of one camera's bench port.

    Raises ConfigError where the camera refuses a request, ResourceError where it does not answer.
    """

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self._url = url
        self._http = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def truth(self, first: int, last: int) -> list[PartTruth]:
        """Truth of the triggers from `first` to `last`, both included, that have passed."""
        rows = self._call("GET", "/truth", query={"from": first, "to": last}).json()
        return [
            PartTruth(
                row["trigger"],
                row["defective"],
                tuple(Defect(d["kind"], tuple(d["bbox"]), d["area_px"]) for d in row["defects"]),
            )
            for row in rows
        ]

    def mask(self, trigger: int) -> Mask:
        """Defect mask of a trigger as its frame shows it, uint8 [H, W] 0/255."""
        png = self._call("GET", "/truth/mask", query={"trigger": trigger}).content
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        return np.asarray(mask, dtype=np.uint8)

    def controls(self) -> dict[str, float]:
        """The controls that the next trigger will have."""
        controls: dict[str, float] = self._call("GET", "/controls").json()["controls"]
        return controls

    def set(self, **values: float) -> int:
        """Set controls; returns the first trigger that has them."""
        return int(self._call("PUT", "/controls", body=values).json()["applies_from"])

    def ramp(self, control: str, to: float, seconds: float) -> int:
        """Move a control linearly over `seconds` of line time; returns the trigger it begins at."""
        body = {"control": control, "to": to, "seconds": seconds}
        return int(self._call("POST", "/ramp", body=body).json()["applies_from"])

    def pause(self) -> None:
        """Stop triggering."""
        self._call("POST", "/pause")

    def resume(self) -> None:
        """Go on triggering."""
        self._call("POST", "/resume")

    def freeze(self) -> None:
        """Make the camera accept requests for frames and answer none."""
        self._call("POST", "/freeze")

    def unfreeze(self) -> None:
        """Make the camera answer again."""
        self._call("POST", "/unfreeze")

    def counters(self) -> dict[str, int]:
        """What the line has done so far; `triggers` counts every part that came."""
        counters: dict[str, int] = self._call("GET", "/counters").json()
        return counters

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, int] | None = None,
        body: dict[str, object] | dict[str, float] | None = None,
    ) -> httpx.Response:
        try:
            response = self._http.request(method, path, params=query, json=body)
        except httpx.TransportError as error:
            raise ResourceError(
                f"the camera's bench port {self._url} does not answer",
                found=str(error),
                remedy="Is the camera running?",
            ) from error
        if response.is_error:
            raise ConfigError(f"the camera refused {method} {path}", found=response.json()["error"])
        return response
