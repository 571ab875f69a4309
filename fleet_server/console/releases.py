"""Releases: the list, and one with its evaluation, its origin and its signatures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from fleet_contract.messages import DeviceState
from fleet_server.console import queries, words
from fleet_server.console.render import ConsoleRoute, page
from fleet_server.console.rollouts import RolloutLine
from fleet_server.console.rollouts import line as rollout_line
from fleet_server.console.show import Badge, Fact, number, percent, plain, size
from fleet_server.errors import NotFoundError
from fleet_server.registry.models import Device, Line
from fleet_server.registry.service import list_devices, list_lines
from fleet_server.releases.models import Release
from fleet_server.rollouts.models import Rollout
from fleet_server.runs.models import TrainingRun
from fleet_server.services import ServicesDep

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A release in a list."""

    digest: str
    line: str
    state: Badge
    champion: Badge | None
    signatures: str
    stations: str
    epoch: int
    created_s: float


@dataclass(frozen=True, slots=True)
class ReleasesPage:
    """All releases, the newest first."""

    releases: list[ReleaseRow]


@dataclass(frozen=True, slots=True)
class SignatureView:
    """A good signature."""

    who: str
    keyid: str


@dataclass(frozen=True, slots=True)
class ReleasePage:
    """One release."""

    digest: str
    state: Badge
    champion: Badge | None
    facts: list[Fact]
    signatures: list[SignatureView]
    threshold: int
    evaluation_note: str
    evaluation_columns: list[str]
    evaluation: list[list[str]]
    lineage: list[Fact]
    comparison: list[Fact]
    comparison_empty: str
    rollouts: list[RolloutLine]


def running_on(digest: str, devices: Sequence[Device]) -> list[str]:
    """Names of the devices that report the bundle as their active one."""
    return [device.name for device in devices if digest in _active(device)]


def _active(device: Device) -> set[str]:
    if not device.state:
        return set()
    lines = DeviceState.model_validate(device.state).lines.values()
    return {line.active.digest for line in lines if line.active}


def champion_badge(release: Release, lines: Sequence[Line]) -> Badge | None:
    """Whether it is its line's champion."""
    here = any(line.name == release.line and line.champion == release.digest for line in lines)
    return Badge("champion", "ok") if here else None


def row(release: Release, devices: Sequence[Device], lines: Sequence[Line]) -> ReleaseRow:
    """The release as lists show it."""
    return ReleaseRow(
        digest=release.digest,
        line=release.line,
        state=words.release(release.state),
        champion=champion_badge(release, lines),
        signatures=f"{len(release.signed_by)} of {release.threshold}",
        stations=", ".join(running_on(release.digest, devices)) or "none",
        epoch=release.epoch,
        created_s=release.created_at,
    )


def _measure(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda report: f"{report[name]:.4f}" if isinstance(report.get(name), float) else ""


def _rate(name: str) -> Callable[[Mapping[str, Any]], str]:
    """A rate and its 95 % interval."""

    def show(report: Mapping[str, Any]) -> str:
        rate = report.get(name)
        if not isinstance(rate, Mapping) or rate.get("rate") is None:
            return ""
        return f"{percent(rate['rate'])} ({percent(rate['low'])} to {percent(rate['high'])})"

    return show


def _flips(report: Mapping[str, Any]) -> str:
    flips = report.get("flips")
    return number(flips) if isinstance(flips, int | float | str) else ""


def _latency(report: Mapping[str, Any]) -> str:
    latency = report.get("latency_ms")
    if not isinstance(latency, Mapping):
        return ""
    return f"{latency['p50']:.1f} ms, 99 % within {latency['p99']:.1f} ms"


def _size(report: Mapping[str, Any]) -> str:
    count = report.get("size_bytes")
    return size(count) if isinstance(count, int) else ""


_COLUMNS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("AUROC", _measure("image_auroc")),
    ("Average precision", _measure("image_ap")),
    ("F1", _measure("f1")),
    ("Escape", _rate("escape")),
    ("Overkill", _rate("overkill")),
    ("Flips", _flips),
    ("Latency", _latency),
    ("Size", _size),
)
"""Columns of the evaluation table; one that no model fills is left out."""


def evaluation_table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) per `runtime/precision`; the first column is its name."""
    models = _models(report)
    filled = [
        (title, show) for title, show in _COLUMNS if any(show(model) for model in models.values())
    ]
    rows = [[name, *(show(model) for _, show in filled)] for name, model in sorted(models.items())]
    return ["Runtime", *(title for title, _ in filled)], rows


def _models(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The part of the report that is per `runtime/precision`, or the whole of it as one."""
    for part in (report, *(value for value in report.values() if isinstance(value, Mapping))):
        found = {name: value for name, value in part.items() if "/" in name}
        if found and all(isinstance(value, Mapping) for value in found.values()):
            return found
    return {"bundle": report} if report else {}


def _note(report: Mapping[str, Any]) -> str:
    parts = []
    if isinstance(report.get("threshold"), float):
        parts.append(f"threshold {number(report['threshold'])}")
    for name in ("image_auroc", "pixel_ap"):
        if isinstance(report.get(name), float):
            parts.append(
                f"{plain(name).replace('auroc', 'AUROC').replace('ap', 'AP')} {report[name]:.4f}"
            )
    text = "On the frozen holdout, before it left the trainer"
    return f"{text}: {', '.join(parts)}." if parts else f"{text}."


def _facts(release: Release, devices: Sequence[Device]) -> list[Fact]:
    facts = [
        Fact("Line", release.line),
        Fact("Epoch", str(release.epoch)),
        Fact("Hardware", ", ".join("any" if name == "*" else name for name in release.hardware)),
    ]
    shown = {fact.name.lower() for fact in facts}
    facts += [
        Fact(name.capitalize(), value)
        for name, value in words.flatten(release.describe)
        if name not in shown
    ]
    facts.append(Fact("Archive", size(release.length)))
    for encoding in release.encodings:
        facts.append(Fact(f"Sent as {encoding['kind']}", size(encoding["length"])))
    facts.append(Fact("Runs on", ", ".join(running_on(release.digest, devices)) or "no station"))
    if release.refused_by:
        facts.append(Fact("Refused", f"{release.refused_reason} (by {release.refused_by})"))
    return facts


def _lineage(release: Release, run: TrainingRun | None) -> list[Fact]:
    known = release.lineage
    facts = []
    if release.run:
        facts.append(Fact("Training run", release.run, f"/runs/{release.run}"))
    incident = str(known.get("incident") or (run.incident if run and run.incident else ""))
    if incident:
        facts.append(Fact("Incident", incident, f"/drift#incident-{incident}"))
    if known.get("parent"):
        facts.append(Fact("Champion then", known["parent"], f"/releases/{known['parent']}", True))
    for name in ("dataset", "config"):
        if known.get(name):
            facts.append(Fact(name.capitalize(), str(known[name]), digest=True))
    facts += [
        Fact(name.capitalize(), number(known[name])) for name in ("code", "seed") if name in known
    ]
    environment = known.get("environment") or {}
    facts += [Fact(name, str(version)) for name, version in sorted(environment.items())]
    return facts


def build(
    release: Release,
    devices: Sequence[Device],
    lines: Sequence[Line],
    run: TrainingRun | None,
    rolled: Sequence[Rollout],
) -> ReleasePage:
    """The page of one release; `run` is the training run that made it."""
    columns, rows = evaluation_table(release.evaluation)
    comparison = run.comparison if run else {}
    return ReleasePage(
        digest=release.digest,
        state=words.release(release.state),
        champion=champion_badge(release, lines),
        facts=_facts(release, devices),
        signatures=[
            SignatureView(f"Signature {n}", key) for n, key in enumerate(release.signed_by, 1)
        ],
        threshold=release.threshold,
        evaluation_note=_note(release.evaluation),
        evaluation_columns=columns,
        evaluation=rows,
        lineage=_lineage(release, run),
        comparison=[Fact(*pair) for pair in words.flatten(comparison)],
        comparison_empty=(
            "The run that made it had no champion to compare with."
            if run
            else "It was submitted by hand: no training run compared it."
        ),
        rollouts=[rollout_line(rollout) for rollout in rolled],
    )


@router.get("/releases")
def releases(request: Request, services: ServicesDep) -> HTMLResponse:
    """All releases, the newest first."""
    with services.database.read() as session:
        devices, lines = list_devices(session), list_lines(session)
        view = ReleasesPage([row(r, devices, lines) for r in queries.releases(session)])
    return page(request, "releases.html", now=services.clock.time(), page=view)


@router.get("/releases/{digest}")
def release(request: Request, services: ServicesDep, digest: str) -> HTMLResponse:
    """One release."""
    with services.database.read() as session:
        found = session.get(Release, digest)
        if found is None:
            raise NotFoundError(
                f"no release has the digest {digest[:80]!r}",
                remedy="A station may run a bundle that was never submitted to this server.",
            )
        view = build(
            found,
            list_devices(session),
            list_lines(session),
            session.get(TrainingRun, found.run) if found.run else None,
            queries.rollouts(session, digest),
        )
    return page(request, "release.html", now=services.clock.time(), page=view)
