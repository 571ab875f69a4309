"""Releases: the list, and one with its evaluation, its origin and its signatures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from fleet_contract.messages import DeviceState
from fleet_server.audit import service as audit
from fleet_server.audit.models import AuditEntry
from fleet_server.console import queries, words
from fleet_server.console.evaluation import Comparison, Evaluation, comparison, evaluation
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.rollouts import RolloutLine
from fleet_server.console.rollouts import line as rollout_line
from fleet_server.console.show import Badge, Fact, number, size, span
from fleet_server.distribution.models import Push
from fleet_server.registry.models import Device, Line
from fleet_server.registry.service import list_devices, list_lines
from fleet_server.releases.models import Release
from fleet_server.releases.rules import OPEN
from fleet_server.releases.service import find_release, list_releases
from fleet_server.releases.service import refuse as refuse_release
from fleet_server.rollouts.models import Rollout
from fleet_server.rollouts.service import list_rollouts
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
class PushView:
    """One sending of the bundle to devices."""

    opened_s: float
    devices: str
    broadcast: str
    took: str
    unicast: str


@dataclass(frozen=True, slots=True)
class ReleasePage:
    """One release."""

    digest: str
    state: Badge
    champion: Badge | None
    facts: list[Fact]
    signatures: list[SignatureView]
    threshold: int
    can_refuse: bool
    evaluation: Evaluation
    lineage: list[Fact]
    comparison: Comparison | None
    comparison_empty: str
    rollouts: list[RolloutLine]
    pushes: list[PushView]


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


def _facts(release: Release, devices: Sequence[Device]) -> list[Fact]:
    facts = [
        Fact("Line", release.line),
        Fact("Epoch", str(release.epoch)),
        Fact("Hardware", ", ".join("any" if name == "*" else name for name in release.hardware)),
    ]
    shown = {fact.name for fact in facts}
    facts += [
        Fact(name, value) for name, value in words.flatten(release.describe) if name not in shown
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
    signers: Mapping[str, str],
    sent: Sequence[Push],
) -> ReleasePage:
    """The page of one release; `run` made it, `signers` says by key id who signed."""
    return ReleasePage(
        digest=release.digest,
        state=words.release(release.state),
        champion=champion_badge(release, lines),
        facts=_facts(release, devices),
        signatures=[SignatureView(signers.get(key, "unknown"), key) for key in release.signed_by],
        threshold=release.threshold,
        can_refuse=release.state in OPEN,
        evaluation=evaluation(release.evaluation),
        lineage=_lineage(release, run),
        comparison=comparison(run.comparison if run else {}),
        comparison_empty=(
            "The run that made it had no champion to compare with."
            if run
            else "It was submitted by hand: no training run compared it."
        ),
        rollouts=[rollout_line(rollout) for rollout in rolled],
        pushes=[push_view(push) for push in sent],
    )


def push_view(push: Push) -> PushView:
    """What was sent, and how long it took."""
    done = push.started_at is not None and push.finished_at is not None
    return PushView(
        opened_s=push.opened_at,
        devices=", ".join(push.joined) or "none",
        broadcast=size(push.bytes_broadcast),
        took=span((push.finished_at or 0.0) - (push.started_at or 0.0)) if done else "under way",
        unicast=size(push.bytes_unicast),
    )


def _signers(entries: Sequence[AuditEntry]) -> dict[str, str]:
    signed = [entry for entry in entries if entry.action == "release.sign"]
    return {str(entry.data.get("keyid")): entry.actor for entry in signed}


@router.get("/releases")
def releases(request: Request, services: ServicesDep) -> HTMLResponse:
    """All releases, the newest first."""
    with services.database.read() as session:
        devices, lines = list_devices(session), list_lines(session)
        view = ReleasesPage([row(r, devices, lines) for r in list_releases(session)])
    return page(request, "releases.html", now=services.clock.time(), page=view)


@router.get("/releases/{digest}")
def release(request: Request, services: ServicesDep, digest: str) -> HTMLResponse:
    """One release."""
    with services.database.read() as session:
        found = find_release(session, digest)
        view = build(
            found,
            list_devices(session),
            list_lines(session),
            session.get(TrainingRun, found.run) if found.run else None,
            [r for r in list_rollouts(session, found.line) if r.digest == found.digest],
            _signers(audit.entries(session, subject=found.digest)),
            queries.pushes(session, found.digest),
        )
    return page(request, "release.html", now=services.clock.time(), page=view)


@router.post("/releases/{digest}/refuse")
def refuse(
    services: ServicesDep,
    digest: str,
    reason: Annotated[str, Form(min_length=1, max_length=300)],
) -> RedirectResponse:
    """A person says no; final."""
    refuse_release(services, ACTOR, digest, reason)
    return go(f"/releases/{digest}")
