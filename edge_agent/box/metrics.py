"""The agent's figures as Prometheus text (exposition format 0.0.4): one table, from values alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field

BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
STAGES = ("wait", "judge", "act", "report", "verdict")
"""Of a part: frame to judging, judging, telling the outputs, what is left behind, frame to verdict."""

METRICS: dict[str, tuple[str, str]] = {
    "loupe_up": ("gauge", "1 while a bundle judges parts."),
    "loupe_info": ("gauge", "Device, line, agent's version and active bundle, as labels."),
    "loupe_parts_total": ("counter", "Parts that ended in a verdict, by verdict."),
    "loupe_parts_per_second": ("gauge", "Parts a second over the last ten."),
    "loupe_stage_seconds": ("histogram", "Time that a part took, by stage."),
    "loupe_unseen_parts_total": ("counter", "Parts that passed without a frame."),
    "loupe_untriggered_frames_total": ("counter", "Frames of a live camera that no part wanted."),
    "loupe_incomplete_frames_total": ("counter", "Frames that arrived damaged."),
    "loupe_camera_settings_refused_total": ("counter", "Parts before a camera that did not take the "
                                                       "settings of their recipe."),
    "loupe_queue_depth": ("gauge", "What waits, by queue."),
    "loupe_dropped_total": ("counter", "What was given up, by queue."),
    "loupe_output_lost": ("gauge", "1 while an output's peer is away, by output."),
    "loupe_output_failures_total": ("counter", "Failed calls of an output's peer, by output."),
    "loupe_link_online": ("gauge", "1 while the fleet's broker is connected."),
    "loupe_cpu_percent": ("gauge", "Processor's load since the last look, all cores."),
    "loupe_memory_bytes": ("gauge", "Resident memory of the agent."),
    "loupe_temperature_celsius": ("gauge", "The hottest sensor; absent where there is none."),
    "loupe_disk_free_bytes": ("gauge", "Free space where the data folder lies."),
    "loupe_throttled": ("gauge", "1 while the processor is slowed by heat or by its supply; absent "
                                 "where it cannot be told."),
    "loupe_uptime_seconds": ("gauge", "Since the agent's start."),
}  # fmt: skip
"""Name: type and help."""

Labels = dict[str, str]
Sample = tuple[str, Labels, float]


@dataclass(slots=True)
class Histogram:
    """Counts of milliseconds by BUCKETS_MS, as Prometheus wants them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """One more value."""
        ms = seconds * 1e3
        place = next((at for at, edge in enumerate(BUCKETS_MS) if ms <= edge), len(BUCKETS_MS))
        self.counts[place] += 1
        self.sum_s += seconds


class StageTimes:
    """A histogram a stage. `part` belongs to one thread; readers may be a part behind."""

    def __init__(self) -> None:
        self._stages = {stage: Histogram() for stage in STAGES}

    def part(
        self, arrived_s: float, began_s: float, judged_s: float, acted_s: float, left_s: float
    ) -> None:
        """One part, by the monotonic seconds at which each stage ended."""
        spans = (began_s - arrived_s, judged_s - began_s, acted_s - judged_s, left_s - acted_s,
                 acted_s - arrived_s)  # fmt: skip
        for stage, seconds in zip(STAGES, spans, strict=True):
            self._stages[stage].observe(seconds)

    def samples(self) -> list[Sample]:
        """`loupe_stage_seconds` with its buckets, sums and counts."""
        found: list[Sample] = []
        for stage, histogram in self._stages.items():
            counts, total = list(histogram.counts), 0
            for edge, count in zip([*BUCKETS_MS, None], counts, strict=True):
                total += count
                le = "+Inf" if edge is None else f"{edge / 1e3:g}"
                labels = {"stage": stage, "le": le}
                found.append(("loupe_stage_seconds_bucket", labels, total))
            found.append(("loupe_stage_seconds_sum", {"stage": stage}, histogram.sum_s))
            found.append(("loupe_stage_seconds_count", {"stage": stage}, total))
        return found


def render(samples: Iterable[Sample]) -> str:
    """The text, each metric with its help and type before its samples, in the table's order."""
    by_name: dict[str, list[Sample]] = {name: [] for name in METRICS}
    for sample in samples:
        by_name[_family(sample[0])].append(sample)
    lines = []
    for name, (kind, text) in METRICS.items():
        if by_name[name]:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{n}{_labels(labels)} {value:.15g}" for n, labels, value in by_name[name]]
    return "\n".join(lines) + "\n"


def _family(name: str) -> str:
    for suffix in ("_bucket", "_sum", "_count"):
        family = name.removesuffix(suffix)
        if family != name and family in METRICS:
            return family
    return name


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
