"""The bench port: truth, controls and faults, for rigs and never for agents."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from fleet_contract.errors import ConfigError, StateError
from hil.camera.camera import encode_png
from hil.camera.optics import CONTROLS
from hil.camera.ports import CameraHandler, integer


class BenchHandler(CameraHandler):
    """Routes of the bench port; wrong input answers 422, an unseen trigger 404."""

    query: dict[str, str]
    body: dict[str, object]

    def do_GET(self) -> None:  # noqa: N802
        """Look at truth, controls or counters."""
        self._route("GET")

    def do_PUT(self) -> None:  # noqa: N802
        """Set controls."""
        self._route("PUT")

    def do_POST(self) -> None:  # noqa: N802
        """Ramp, pause, resume, freeze or unfreeze."""
        self._route("POST")

    def _route(self, method: str) -> None:
        path, self.query = self.split()
        try:
            self.body = self.read_json()
            act = ROUTES.get((method, path))
            if act is None:
                known = ", ".join(f"{m} {p}" for m, p in ROUTES)
                self.answer_json(404, {"error": f"here are {known}"})
            else:
                act(self)
        except ConfigError as error:
            self.answer_json(422, {"error": str(error)})
        except StateError as error:
            self.answer_json(404, {"error": str(error)})

    def truth(self) -> None:
        """[{trigger, defective, defects: [{kind, bbox, area_px}]}], both ends included."""
        truths = self.camera.truths(integer(self.query, "from"), integer(self.query, "to"))
        rows = [
            {
                "trigger": trigger,
                "defective": truth.defective,
                "defects": [asdict(defect) for defect in truth.defects],
            }
            for trigger, truth in truths
        ]
        self.answer_json(200, rows)

    def mask(self) -> None:
        """The mask of a trigger as PNG."""
        mask = self.camera.mask(integer(self.query, "trigger"))
        self.answer(200, encode_png(mask), "image/png")

    def controls(self) -> None:
        """The controls of the next trigger, their ranges, and every act with its trigger."""
        ranges = {name: asdict(control) for name, control in CONTROLS.items()}
        acts = [asdict(act) for act in self.camera.acts()]
        settings = asdict(self.camera.settings())
        self.answer_json(200, {"controls": settings, "ranges": ranges, "acts": acts})

    def put_controls(self) -> None:
        """Set the controls that the body names."""
        self.answer_json(200, {"applies_from": self.camera.put(self.body)})

    def ramp(self) -> None:
        """Ramp one control: {control, to, seconds}."""
        unknown = set(self.body) ^ {"control", "to", "seconds"}
        if unknown:
            raise ConfigError(
                "the ramp is not understood",
                expected='{"control": ..., "to": ..., "seconds": ...}',
                found=f"missing or unknown: {', '.join(sorted(unknown))}",
            )
        control, to, seconds = (self.body[key] for key in ("control", "to", "seconds"))
        began = self.camera.ramp(str(control), to, seconds)
        self.answer_json(200, {"applies_from": began})

    def pause(self) -> None:
        """Stop triggering."""
        self.camera.pause(True)
        self.answer_json(200, {"paused": True})

    def resume(self) -> None:
        """Go on triggering."""
        self.camera.pause(False)
        self.answer_json(200, {"paused": False})

    def freeze(self) -> None:
        """Accept requests for frames, and answer none."""
        self.camera.frames.freeze(True)
        self.answer_json(200, {"frozen": True})

    def unfreeze(self) -> None:
        """Answer again."""
        self.camera.frames.freeze(False)
        self.answer_json(200, {"frozen": False})

    def counters(self) -> None:
        """What the line has done so far."""
        self.answer_json(200, self.camera.counters())


ROUTES: Final[dict[tuple[str, str], Callable[[BenchHandler], None]]] = {
    ("GET", "/truth"): BenchHandler.truth,
    ("GET", "/truth/mask"): BenchHandler.mask,
    ("GET", "/controls"): BenchHandler.controls,
    ("PUT", "/controls"): BenchHandler.put_controls,
    ("POST", "/ramp"): BenchHandler.ramp,
    ("POST", "/pause"): BenchHandler.pause,
    ("POST", "/resume"): BenchHandler.resume,
    ("POST", "/freeze"): BenchHandler.freeze,
    ("POST", "/unfreeze"): BenchHandler.unfreeze,
    ("GET", "/counters"): BenchHandler.counters,
}
