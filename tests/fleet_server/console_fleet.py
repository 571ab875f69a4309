"""A small fleet for the console's tests, told to the server through its own services."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet_contract.histogram import Histogram, HistogramMessage
from fleet_contract.messages import (
    DeviceState,
    Envelope,
    EventBody,
    Heartbeat,
    LineState,
    LinkStatus,
    PartsBody,
    PartVerdict,
    Record,
    SampleBody,
    SlotState,
    Stream,
    UpdateReport,
    UpdateStep,
)
from fleet_contract.names import UpdateState, Verdict
from fleet_contract.trust.signing import sign_state
from fleet_contract.windows import FEATURES, Arm, Window
from fleet_server.labels.service import add_sample
from fleet_server.registry.service import (
    add_device,
    find_device,
    heartbeat,
    link_changed,
    state_reported,
)
from fleet_server.services import Services
from fleet_server.telemetry.service import store
from hil.render.part import render_part
from hil.render.spec import PartSpec
from tests.support.broker import Pki

LINE, CAMERA, SPOOL = "watch-case", "camera-1", "spool-1"
SPAN_S = 2.0
"""Length of a window."""
FRAMES = 8
"""Sampled frames of a window, and its parts."""

LEVELS: Mapping[str, tuple[float, float]] = {
    "mean": (112.0, 1.2), "std": (48.0, 0.6), "p01": (14.0, 0.5), "p99": (231.0, 1.5),
    "clip_low": (0.001, 0.0004), "clip_high": (0.004, 0.001), "entropy": (7.1, 0.02),
    "sharpness": (0.052, 0.001), "noise": (0.9, 0.02), "edges": (0.11, 0.003),
    "rg": (1.02, 0.004), "bg": (0.97, 0.004), "saturation": (24.0, 0.5),
    "shift_x": (0.0, 0.15), "shift_y": (0.0, 0.15), "shift_response": (0.82, 0.01),
}  # fmt: skip
"""Mean and spread of each feature over frames."""
LIGHT = ("mean", "std", "p01", "p99", "clip_high")
"""What follows the light."""


def digest_of(name: str) -> str:
    """A digest that stands for a bundle."""
    return hashlib.sha256(name.encode()).hexdigest()


def _histogram(spec: str, values: np.ndarray) -> HistogramMessage:
    return Histogram.of(spec, [float(value) for value in values]).to_message()


@dataclass
class Station:
    """One device with its own numbers; every call tells the server something."""

    name: str
    services: Services
    pki: Pki
    digest: str
    rng: np.random.Generator = field(init=False)
    numbers: dict[Stream, int] = field(default_factory=dict)
    parts: int = 0
    counter: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(int(digest_of(self.name)[:8], 16))
        certificate, key = self.pki.credentials(self.name)
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        with self.services.database.write() as session:
            add_device(session, self.now, "test", self.name, certificate.read_text(), line=LINE)

    @property
    def now(self) -> float:
        """The server's time."""
        return self.services.clock.time()

    def _envelope(self, stream: Stream, bodies: list[tuple[float, dict[str, object]]]) -> Envelope:
        first = self.numbers.get(stream, 0) + 1
        self.numbers[stream] = first + len(bodies) - 1
        records = [
            Record(
                number=number,
                through=number,
                boot_id="boot-1",
                monotonic_s=time_s,
                time_s=time_s,
                clock_synchronised=True,
                body=body,
            )
            for number, (time_s, body) in enumerate(bodies, first)
        ]
        return Envelope(device=self.name, spool_id=SPOOL, stream=stream, records=records)

    def _send(self, stream: Stream, bodies: list[tuple[float, dict[str, object]]]) -> None:
        with self.services.database.write() as session:
            assert store(session, self._envelope(stream, bodies), self.now) == []
        self.services.bus.publish(str(stream), {"device": self.name})

    def online(self, online: bool = True) -> None:
        """The broker says that the device is there, or gone."""
        with self.services.database.write() as session:
            status = LinkStatus(online=online, connection_id="c1", time_s=self.now)
            link_changed(session, find_device(session, self.name), status, self.now)

    def beat(self) -> None:
        """A heartbeat."""
        beat = Heartbeat(
            time_s=self.now, uptime_s=4210, rss_bytes=412_000_000, cpu_percent=37,
            disk_free_bytes=18_400_000_000, temperature_c=52, parts=self.parts, parts_per_s=3.9,
            no_decision=2, dropped_frames=0, spool_records=3, spool_bytes=18_200,
            latency_p50_ms=11.4, latency_p99_ms=19.8,
        )  # fmt: skip
        with self.services.database.write() as session:
            heartbeat(session, find_device(session, self.name), beat, self.now)

    def report(
        self,
        state: UpdateState,
        candidate: str | None = None,
        reason: str = "",
        share: float | None = None,
    ) -> None:
        """The signed state."""
        self.counter += 1
        since = self.now - 900
        line = LineState(
            active=SlotState(digest=self.digest, attempt=1, since_s=since),
            candidate=SlotState(digest=candidate, attempt=1, since_s=self.now - 60, share=share)
            if candidate
            else None,
            update=UpdateReport(
                state=state,
                digest=candidate or self.digest,
                rollout="1",
                attempt=1,
                share=share,
                reason=reason,
            ),
            inspecting=True,
        )
        told = DeviceState(
            device=self.name, counter=self.counter, boot_id="boot-1", spool_id=SPOOL,
            agent_version="0.1.0", hardware="x86-64-box", runtime="onnx/int8",
            time_s=self.now, lines={LINE: line},
        )  # fmt: skip
        with self.services.database.write() as session:
            device = find_device(session, self.name)
            assert state_reported(session, device, sign_state(told, self._key), self.now)

    def inspect(self, windows: int, *, light: float = 1.0, end_light: float | None = None) -> None:
        """Verdicts and windows of the last `windows` spans; the light goes from one to the other."""
        gains = np.linspace(light, light if end_light is None else end_light, windows)
        start = self.now - windows * SPAN_S
        told, judged = [], []
        for index, gain in enumerate(gains):
            begin = start + index * SPAN_S
            scores = self._scores()
            judged += self._verdicts(begin, scores)
            told.append((begin + SPAN_S, self._window(begin, float(gain), scores)))
        for at in range(0, len(judged), 100):
            body = PartsBody(line=LINE, camera=CAMERA, verdicts=judged[at : at + 100])
            self._send(Stream.PARTS, [(self.now, body.model_dump(mode="json"))])
        self._send(Stream.WINDOWS, told)

    def _scores(self) -> np.ndarray:
        defective = self.rng.random(FRAMES) < 0.25
        return np.where(
            defective, self.rng.normal(0.86, 0.05, FRAMES), self.rng.normal(0.12, 0.05, FRAMES)
        ).clip(0, 1)

    def _verdicts(self, begin: float, scores: np.ndarray) -> list[PartVerdict]:
        made = []
        for index, score in enumerate(scores):
            self.parts += 1
            verdict = Verdict.REJECT if score >= 0.5 else Verdict.ACCEPT
            late = self.parts % 97 == 0
            made.append(
                PartVerdict(
                    number=self.parts,
                    verdict=Verdict.NO_DECISION if late else verdict,
                    reason="deadline" if late else "",
                    score=float(score),
                    digest=self.digest,
                    latency_ms=11.0,
                    time_s=begin + index * SPAN_S / FRAMES,
                )
            )
        return made

    def _window(self, begin: float, gain: float, scores: np.ndarray) -> dict[str, object]:
        features = {}
        for name in FEATURES:
            level, spread = LEVELS[name]
            level = level * gain if name in LIGHT else level
            features[name] = _histogram(f"{name}/1", self.rng.normal(level, spread, FRAMES))
        row, column = np.mgrid[0:8, 0:8]
        picture = 1.25 - 0.02 * ((row - 3.5) ** 2 + (column - 3.5) ** 2)
        cells = picture / picture.mean() * 1000 * FRAMES + self.rng.normal(0, 20, (8, 8))
        window = Window(
            line=LINE,
            camera=CAMERA,
            digest=self.digest,
            start_s=begin,
            end_s=begin + SPAN_S,
            sampled_frames=FRAMES,
            features=features,
            thumbnail=[int(cell) for cell in cells.reshape(-1)],
            score=_histogram("score/1", scores),
            latency_ms=_histogram("latency_ms/1", self.rng.normal(11.4, 1.2, FRAMES)),
            arms={self.digest: Arm(parts=FRAMES, rejects=int((scores >= 0.5).sum()))},
        )
        return window.model_dump(mode="json")

    def event(self, kind: str, text: str, severity: str = "info", ago_s: float = 0.0) -> None:
        """Something happened."""
        body = EventBody.model_validate(
            {"kind": kind, "severity": severity, "line": LINE, "text": text}
        )
        self._send(Stream.EVENTS, [(self.now - ago_s, body.model_dump(mode="json"))])

    def step(self, state: UpdateState, digest: str, ago_s: float = 0.0) -> None:
        """A step of an update."""
        step = UpdateStep(state=state, digest=digest, rollout="1", attempt=1, slot="shadow")
        body = EventBody(
            kind="update",
            line=LINE,
            digest=digest,
            text=f"update is {state}",
            data=step.model_dump(mode="json"),
        )
        self._send(Stream.EVENTS, [(self.now - ago_s, body.model_dump(mode="json"))])

    def sample(
        self, part: int, why: str, *, incident: int | None = None, candidate: str | None = None
    ) -> str:
        """A picture for review; returns its id."""
        image = render_part(PartSpec(seed=7, number=part, defect_rate=0.5)).image
        done, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        assert done
        blob = self.services.store.put(png.tobytes())
        body = SampleBody.model_validate(
            {
                "sample_id": f"{self.name}-{part}", "line": LINE, "camera": CAMERA, "part": part,
                "why": why, "verdict": "reject", "score": 0.612, "digest": self.digest,
                "candidate_digest": candidate,
                "candidate_verdict": "accept" if candidate else None,
                "candidate_score": 0.318 if candidate else None,
                "sha256": blob, "length": len(png), "blocks": 1,
            }
        )  # fmt: skip
        envelope = self._envelope(Stream.SAMPLES, [(self.now, body.model_dump(mode="json"))])
        with self.services.database.write() as session:
            add_sample(
                session, self.name, SPOOL, envelope.records[0], body, self.now, incident,
                _heat_map(self.services) if candidate else None,
            )  # fmt: skip
        return body.sample_id


def _heat_map(services: Services) -> str:
    """A map with one hot corner, in the store; its digest."""
    grey = np.zeros((64, 64), np.uint8)
    grey[8:20, 8:20] = 255
    done, data = cv2.imencode(".png", grey)
    assert done
    return services.store.put(data.tobytes())
