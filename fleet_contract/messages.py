"""The JSON messages, version 1: each keeps fields that it does not know, so that v1 can grow.

Records travel in an `Envelope`, keyed (device, spool_id, stream, number). A `Gap` stands for numbers
that the spool had to drop, so that the contiguous acknowledgement always moves.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleet_contract.errors import ContractError
from fleet_contract.names import DeviceName, Digest, Id, LineName, UpdateState, Verdict

NAME_LENGTH = 80
"""Characters of a name that a trigger gives: of a recipe, of a part."""
VIEW_LENGTH = 64
"""Characters of a view's name: it stands where a camera's id does."""


class Message(BaseModel):
    """A versioned message: immutable, unknown fields kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    v: Literal[1] = 1

    def encode(self) -> bytes:
        """UTF-8 JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """The message in `payload`. Raises ContractError that names the field that is wrong."""
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise ContractError(
                f"not a {cls.__name__} message: {first_problem(error)}",
                remedy="The sender breaks the contract v1; see docs/reference/messages.md.",
            ) from error


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation error on one line: where, what was expected, what came."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "document"
    return f"{where}: {expected_and_found(problem['msg'], problem['input'])}"


def expected_and_found(message: str, value: object) -> str:
    """A validator's message, and the value that it is about where that is short enough to show."""
    text = message.removeprefix("Value error, ")
    shown = value is not None and isinstance(value, str | int | float)
    return f"{text}; found {repr(value)[:100]}" if shown else text


class Stream(StrEnum):
    """The spool's streams; each has numbers of its own from 1."""

    WINDOWS = "windows"
    PARTS = "parts"
    EVENTS = "events"
    SAMPLES = "samples"


class Gap(Message):
    """Records that the bounded spool dropped; the record that carries it spans their numbers."""

    records: int = Field(ge=1)
    reason: str


class Record(Message):
    """One numbered record of a stream. Exactly one of `body` and `gap` is there."""

    number: int = Field(ge=1)
    through: int = Field(ge=1)
    """Last number that this record covers; equal to `number` unless it is a gap."""
    boot_id: Id
    monotonic_s: float
    time_s: float
    clock_synchronised: bool
    body: dict[str, Any] | None = None
    gap: Gap | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.body is None) == (self.gap is None):
            raise ValueError("exactly one of body and gap")
        if self.through < self.number or (self.gap is None and self.through != self.number):
            raise ValueError("through equals number, or lies above it in a gap")
        return self


class Envelope(Message):
    """Records of one stream of one spool, in ascending order."""

    device: DeviceName
    spool_id: Id
    stream: Stream
    records: list[Record] = Field(min_length=1, max_length=1000)


class PartVerdict(Message):
    """How one part ended. The part is `device:spool:number`; `number` is the trigger's."""

    number: int = Field(ge=0)
    verdict: Verdict
    reason: str = ""
    """Why there was no decision: deadline, model_not_ready, frame_schema, unknown_recipe, runtime;
    without a picture: camera_gap (none came), frame_unreadable, frame_incomplete (part of it was lost
    on its way), overrun (too many waited), camera_settings (the camera did not take the recipe's),
    view_missing (other views of the part were seen); ..."""
    score: float | None = None
    digest: Digest | None = None
    """The bundle that judged."""
    slot: Literal["active", "candidate"] = "active"
    """`candidate` for a part of the canary share inside one station; where the candidate gave no
    verdict in time, `digest` is the active bundle's, which judged in its place."""
    latency_ms: float = Field(ge=0)
    """From the frame's arrival to the verdict."""
    time_s: float
    recipe: str = Field(default="", max_length=NAME_LENGTH)
    """The product's variant, as the trigger gave it."""
    external_id: str = Field(default="", max_length=NAME_LENGTH)
    """The part's name elsewhere, such as a serial number, as the trigger gave it."""
    view: str = Field(default="", max_length=VIEW_LENGTH)
    """Of a part with several views: the one that decided, or that is missing."""


class PartsBody(Message):
    """A batch of verdicts in the order of their numbers: one stored row a batch and number range."""

    line: LineName
    camera: Id
    verdicts: list[PartVerdict] = Field(min_length=1, max_length=500)


class EventBody(Message):
    """Something that happened: an update step, a fault, an operator's act, a command's answer."""

    kind: Id
    """update, refused, fault, started, stopped, rollback, command, camera, disk, ..."""
    severity: Literal["info", "warning", "error"] = "info"
    line: LineName | None = None
    digest: Digest | None = None
    text: str = Field(max_length=2000)
    data: dict[str, Any] = Field(default_factory=dict)


class UpdateStep(Message):
    """`data` of an event of kind `update`."""

    state: UpdateState
    digest: Digest
    rollout: Id
    attempt: int = Field(ge=1)
    slot: Literal["active", "shadow", "canary"]
    share: float | None = Field(default=None, gt=0, lt=1)
    """Of the parts that a canary judges; None: all."""
    failure: str = ""
    """Class of the failure (network, bundle, trust, self_test, crash, probation, footprint, disk)."""
    reason: str = ""
    numbers: dict[str, float] = Field(default_factory=dict)


class SampleBody(Message):
    """An image chosen for review; its bytes follow in blocks 1 to `blocks`."""

    sample_id: Id
    line: LineName
    camera: Id
    part: int = Field(ge=0)
    why: Literal["reject", "near_threshold", "audit", "disagreement", "requested"]
    verdict: Verdict
    """The line's; of a disagreement without `digest` that of the people or the system that judge
    today."""
    score: float | None = None
    digest: Digest | None = None
    candidate_digest: Digest | None = None
    candidate_verdict: Verdict | None = None
    candidate_score: float | None = None
    heat_map: str = Field(default="", max_length=40_000)
    """Base64 of a grey PNG of at most 128 pixels a side: the defect map over the whole image, 255 for a
    certain defect; of the model that rejects, where two disagree. Empty without a judgement."""
    media_type: Literal["image/png"] = "image/png"
    sha256: Digest
    length: int = Field(ge=1, le=64 * 2**20)
    blocks: int = Field(ge=1, le=4096)


class SlotState(Message):
    """What lies in one slot."""

    digest: Digest
    attempt: int = Field(ge=0)
    since_s: float
    share: float | None = Field(default=None, gt=0, lt=1)
    """Of the parts that a candidate judges; None for one in shadow, and in other slots."""


class UpdateReport(Message):
    """The update under way, or the last one."""

    state: UpdateState
    digest: Digest
    rollout: Id
    attempt: int
    share: float | None = Field(default=None, gt=0, lt=1)
    """Of the parts that a canary judges; None: all."""
    failure: str = ""
    reason: str = ""


class LineState(Message):
    """One line on one device."""

    active: SlotState | None = None
    previous: SlotState | None = None
    candidate: SlotState | None = None
    update: UpdateReport | None = None
    epoch_floor: int = 0
    inspecting: bool
    mm_per_pixel: dict[Id, float] = Field(default_factory=dict)
    """By camera, where the station is calibrated."""


class DeviceState(Message):
    """What the device really runs; `counter` grows with every report and never goes back."""

    device: DeviceName
    counter: int = Field(ge=1)
    boot_id: Id
    spool_id: Id
    agent_version: str
    hardware: str
    runtime: str
    """Runtime and precision in use, such as `onnx/int8`."""
    time_s: float
    lines: dict[LineName, LineState]


class SignedState(Message):
    """A `DeviceState` as JSON text, and the device key's ECDSA P-256 SHA-256 signature of it."""

    payload: str = Field(max_length=60_000)
    sig: str = Field(max_length=200)
    """Base64 of the DER signature over the UTF-8 bytes of `payload`."""


class LinkStatus(Message):
    """Online or offline; the last will carries the same connection id as the online message."""

    online: bool
    connection_id: Id
    time_s: float


class Heartbeat(Message):
    """Health of the device; counters since the agent's start."""

    time_s: float
    uptime_s: float
    rss_bytes: int
    cpu_percent: float
    disk_free_bytes: int
    temperature_c: float | None = None
    parts: int
    parts_per_s: float
    no_decision: int
    dropped_frames: int
    """Parts that passed without a frame."""
    untriggered_frames: int = 0
    """Frames that no trigger had asked for and the inspection had no time for."""
    incomplete_frames: int = 0
    """Frames of which a part was lost on the way from the camera."""
    spool_records: int
    spool_bytes: int
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None


class Request(Message):
    """What a device asks for. The answer's topic follows from the request's topic alone."""

    op: Literal["metadata", "hashes", "blocks", "join"]
    path: str = Field(default="", max_length=200)
    """metadata: `image/NAME.json` or `director/NAME.json`."""
    digest: Digest | None = None
    """Digest of a wire encoding (hashes, blocks, join)."""
    blocks: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, max_length=64)


class ResponseHead(Message):
    """Block 0 of an answer; `blocks` blocks of raw bytes follow, numbered from 1."""

    status: int
    """200, 404 (not there), 403 (not for you), 400 (not understood), 503 (later)."""
    length: int = Field(ge=0)
    blocks: int = Field(ge=0)
    error: str = ""


class Ack(Message):
    """Per stream, the highest contiguous number that is stored."""

    spool_id: Id
    streams: dict[Stream, Annotated[int, Field(ge=0)]]


class Desired(Message):
    """A hint: the director's metadata for this device has at least this version."""

    director_version: int = Field(ge=0)


class Command(Message):
    """An order that is no update; answered by an event of kind `command` with its id."""

    id: Id
    op: Literal["sample", "restart"]
    line: LineName | None = None
    count: int = Field(default=0, ge=0, le=1000)
    """sample: how many of the next parts to send as samples (`why` is `requested`)."""


BODIES: dict[Stream, type[Message]] = {
    Stream.PARTS: PartsBody,
    Stream.EVENTS: EventBody,
    Stream.SAMPLES: SampleBody,
}
"""Body model per stream; the body of `windows` is `fleet_contract.windows.Window`."""
