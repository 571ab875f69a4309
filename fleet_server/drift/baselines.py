"""Baselines: proposed by rule once enough windows are there, accepted by a person."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple

from sqlmodel import Session, col, select

from fleet_contract.errors import StateError
from fleet_server.audit.service import record
from fleet_server.drift.models import Baseline, DriftState
from fleet_server.drift.rules import SCORES, Reference, references
from fleet_server.errors import NotFoundError

_LEAST_SCORES = 10
"""Windows of one bundle from which its scores may become part of a proposal."""


def pack(known: Mapping[str, Reference]) -> dict[str, list[float]]:
    """As stored."""
    return {name: list(astuple(reference)) for name, reference in known.items()}


def unpack(stored: Mapping[str, Sequence[float]]) -> dict[str, Reference]:
    """As used."""
    return {
        name: Reference(mean, sd, r1, int(windows))
        for name, (mean, sd, r1, windows) in stored.items()
    }


def current(
    session: Session, device: str, line: str, camera: str, state: str = "accepted", *,
    recipe: str = "",
) -> Baseline | None:  # fmt: skip
    """The latest baseline of that state; at most one is accepted at a time."""
    return session.exec(
        select(Baseline)
        .where(Baseline.device == device, Baseline.line == line, Baseline.camera == camera)
        .where(Baseline.recipe == recipe, Baseline.state == state)
        .order_by(col(Baseline.id).desc())
        .limit(1)
    ).first()


def propose(session: Session, now: float, state: DriftState) -> Baseline:
    """A proposal of what was collected; the collection begins anew."""
    windows = state.collected
    digest = windows[-1]["digest"]
    scored = [w["scores"] for w in windows if w["digest"] == digest and w["scores"]]
    enough = digest is not None and len(scored) >= min(_LEAST_SCORES, len(windows))
    baseline = Baseline(
        device=state.device,
        line=state.line,
        camera=state.camera,
        recipe=state.recipe,
        windows=len(windows),
        start_s=windows[0]["start_s"],
        end_s=windows[-1]["end_s"],
        features=pack(references([w["values"] for w in windows])),
        score_digest=digest if enough else None,
        scores=pack(references(scored)) if enough else {},
        proposed_at=now,
    )
    session.add(baseline)
    state.collected = []
    session.flush()
    record(session, now, "rule:drift", "baseline.propose", str(baseline.id), {
        "device": state.device, "line": state.line, "camera": state.camera,
        "recipe": state.recipe, "windows": len(windows),
    })  # fmt: skip
    return baseline


def accept(session: Session, now: float, by: str, baseline_id: int) -> Baseline:
    """A person accepts a proposal; the one before retires and what was carried starts at zero.

    Raises NotFoundError for one that is not there, StateError for one that is no proposal.
    """
    baseline = session.get(Baseline, baseline_id)
    if baseline is None:
        raise NotFoundError(f"there is no baseline {baseline_id}")
    if baseline.state != "proposed":
        raise StateError(f"baseline {baseline_id} is {baseline.state}", expected="a proposed one")
    place = (baseline.device, baseline.line, baseline.camera)
    before = current(session, *place, recipe=baseline.recipe)
    if before:
        before.state = "retired"
        session.add(before)
    baseline.state, baseline.accepted_by, baseline.accepted_at = "accepted", by, now
    session.add(baseline)
    _reset(session, session.get(DriftState, (*place, baseline.recipe)))
    record(session, now, by, "baseline.accept", str(baseline_id), {"device": baseline.device})
    session.flush()
    return baseline


def retire(session: Session, now: float, by: str, device: str, line: str, camera: str) -> None:
    """Asks for new baselines of a camera, whatever the recipe: what changes there changes for all.

    Accepted ones and open proposals retire, collecting begins.
    """
    for baseline in session.exec(
        select(Baseline)
        .where(Baseline.device == device, Baseline.line == line, Baseline.camera == camera)
        .where(col(Baseline.state).in_(("accepted", "proposed")))
    ).all():
        baseline.state = "retired"
        session.add(baseline)
        record(session, now, by, "baseline.retire", str(baseline.id), {"device": device})
    session.flush()
    reset(session, device, line, camera)


def reset(session: Session, device: str, line: str, camera: str) -> None:
    """Everything that is carried from window to window of a camera starts at zero."""
    for state in session.exec(
        select(DriftState).where(
            DriftState.device == device, DriftState.line == line, DriftState.camera == camera
        )
    ).all():
        _reset(session, state)


def _reset(session: Session, state: DriftState | None) -> None:
    if state is None:
        return
    state.features, state.collected, state.score_values = {}, [], []
    state.score_digest = None
    session.add(state)


def learn_scores(
    session: Session, now: float, baseline: Baseline, state: DriftState, windows: int
) -> None:
    """After a swap: the new bundle's scores become the ones to compare with, once enough came."""
    if len(state.score_values) < windows:
        return
    baseline.score_digest = state.score_digest
    baseline.scores = pack(references(state.score_values))
    state.score_values, state.score_digest = [], None
    state.features = {k: v for k, v in state.features.items() if k not in SCORES}
    session.add(baseline)
    data = {"digest": baseline.score_digest, "device": baseline.device}
    record(session, now, "rule:drift", "baseline.scores", str(baseline.id), data)


def list_baselines(session: Session, device: str | None = None) -> list[Baseline]:
    """The latest first."""
    query = select(Baseline).order_by(col(Baseline.id).desc())
    return list(session.exec(query.where(Baseline.device == device) if device else query))
