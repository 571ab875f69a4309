"""Looks at every stored window once, in order, and opens incidents."""

from dataclasses import astuple

from sqlmodel import Session, col, select

from fleet_contract.messages import EventBody
from fleet_contract.windows import Window
from fleet_server.audit.service import record
from fleet_server.config import DriftConfig
from fleet_server.drift import baselines
from fleet_server.drift.causes import IMAGE_CAUSES, attribute
from fleet_server.drift.models import Baseline, DriftCursor, DriftState, Incident
from fleet_server.drift.rules import (
    SCORES,
    Moved,
    Tracked,
    alarming,
    features_of,
    movements,
    parts_of,
    scores_of,
    step,
)
from fleet_server.registry.rules import Cause
from fleet_server.telemetry.models import WindowRow
from fleet_server.telemetry.service import parse_body, server_event

_AT_ONCE = 200
_EVIDENCE = 8
"""Features that an incident's evidence names."""


def tick(session: Session, now: float, config: DriftConfig) -> list[Incident]:
    """Looks at the windows that came since the last time; returns the incidents that it opened."""
    cursor = session.get(DriftCursor, 1) or DriftCursor()
    rows = session.exec(
        select(WindowRow)
        .where(col(WindowRow.id) > cursor.window)
        .order_by(col(WindowRow.id))
        .limit(_AT_ONCE)
    ).all()
    opened = []
    for row in rows:
        incident = look(session, now, config, row.device, parse_body(Window, row.body))
        opened += [incident] if incident else []
        cursor.window = row.id or cursor.window
    if rows:
        session.add(cursor)
        session.flush()
    return opened


def look(
    session: Session, now: float, config: DriftConfig, device: str, window: Window
) -> Incident | None:
    """One window: collected for a proposal, or compared with the baseline."""
    if window.sampled_frames < config.minimum_frames:
        return None
    key = (device, window.line, window.camera)
    state = session.get(DriftState, (*key, window.recipe))
    if state is None:
        state = DriftState(
            device=device, line=window.line, camera=window.camera, recipe=window.recipe
        )
        # Later windows of the same transaction have to find it.
        session.add(state)
        session.flush()
    state.updated_at = window.end_s
    session.add(state)
    learning = not open_incidents(session, device, window.line)
    baseline = baselines.current(session, *key, recipe=window.recipe)
    if baseline is None:
        proposed = baselines.current(session, *key, "proposed", recipe=window.recipe)
        if learning and proposed is None:
            _collect(session, now, config, state, window)
        return None
    state.baseline = baseline.id
    return _compare(session, now, config, state, baseline, window, learning)


def _collect(
    session: Session, now: float, config: DriftConfig, state: DriftState, window: Window
) -> None:
    found = {
        "start_s": window.start_s,
        "end_s": window.end_s,
        "digest": window.digest,
        "values": features_of(window),
        "scores": scores_of(window),
    }
    state.collected = [*state.collected, found]
    if len(state.collected) >= config.baseline_windows:
        baselines.propose(session, now, state)


def _compare(
    session: Session,
    now: float,
    config: DriftConfig,
    state: DriftState,
    baseline: Baseline,
    window: Window,
    learning: bool,
) -> Incident | None:
    known, values = baselines.unpack(baseline.features), features_of(window)
    if window.digest and window.digest == baseline.score_digest:
        known |= baselines.unpack(baseline.scores)
        values |= scores_of(window)
    elif learning and window.digest:
        _learn(session, now, config, state, baseline, window)
    tracked = {name: _tracked(stored) for name, stored in state.features.items()}
    tracked = step(known, tracked, values, parts_of(window))
    state.features = {name: list(astuple(one)) for name, one in tracked.items()}
    moved = movements(known, tracked)
    feature = alarming(moved, config.threshold)
    if feature is None:
        return None
    return _alarm(session, now, config, state, moved, feature)


def _tracked(stored: list[float]) -> Tracked:
    s, level, parts = stored
    return Tracked(s, level, int(parts))


def _learn(
    session: Session,
    now: float,
    config: DriftConfig,
    state: DriftState,
    baseline: Baseline,
    window: Window,
) -> None:
    scores = scores_of(window)
    if not scores:
        return
    if state.score_digest != window.digest:
        state.score_digest, state.score_values = window.digest, []
    state.score_values = [*state.score_values, scores]
    baselines.learn_scores(session, now, baseline, state, config.baseline_windows)


def _alarm(
    session: Session,
    now: float,
    config: DriftConfig,
    state: DriftState,
    moved: dict[str, Moved],
    feature: str,
) -> Incident | None:
    cause = attribute(moved, config.threshold)
    if cause is None:
        return None
    there = [i for i in open_incidents(session, state.device, state.line)
             if i.camera == state.camera]  # fmt: skip
    if cause in {incident.cause for incident in there}:
        return None
    picture = next((i for i in there if i.cause in IMAGE_CAUSES), None)
    if picture is not None:
        _note(session, now, picture, cause)
        return None
    return open_incident(session, now, state, cause, moved, feature)


def _note(session: Session, now: float, incident: Incident, cause: Cause) -> None:
    """A picture that is wrong in one way soon looks wrong in others: told on the same incident."""
    also = incident.evidence.get("also", {})
    if cause not in also:
        incident.evidence = {**incident.evidence, "also": {**also, cause: now}}
        session.add(incident)
        data = {"device": incident.device, "cause": cause}
        record(session, now, "rule:drift", "incident.also", str(incident.id), data)


def open_incident(
    session: Session,
    now: float,
    state: DriftState,
    cause: Cause,
    moved: dict[str, Moved],
    feature: str,
) -> Incident:
    """Opens an incident with its evidence, audited and told as an event of the device."""
    strongest = sorted(moved, key=lambda name: -moved[name].strength)[:_EVIDENCE]
    evidence = {
        name: {
            "strength": round(moved[name].strength, 2),
            "s": round(moved[name].s, 3),
            "change": round(moved[name].change, 4),
        }
        for name in strongest
    }
    incident = Incident(
        device=state.device,
        line=state.line,
        camera=state.camera,
        cause=cause,
        opened_at=now,
        parts_until_alarm=moved[feature].parts,
        evidence={
            "feature": feature,
            "baseline": state.baseline,
            "recipe": state.recipe,
            "moved": evidence,
        },
    )
    session.add(incident)
    session.flush()
    data = {"device": state.device, "line": state.line, "cause": cause, "feature": feature}
    record(session, now, "rule:drift", "incident.open", str(incident.id), data)
    text = f"drift: {cause} on {state.device}, camera {state.camera} ({feature} moved)"
    event = EventBody(
        kind="incident", severity="warning", line=state.line, text=text,
        data={"incident": incident.id, "cause": cause},
    )  # fmt: skip
    server_event(session, state.device, now, event)
    return incident


def open_incidents(
    session: Session, device: str | None = None, line: str | None = None
) -> list[Incident]:
    """Incidents that are not closed."""
    query = select(Incident).where(Incident.state != "closed").order_by(col(Incident.id))
    if device:
        query = query.where(Incident.device == device)
    if line:
        query = query.where(Incident.line == line)
    return list(session.exec(query))


def strengths(session: Session, device: str) -> list[dict[str, object]]:
    """Per line, camera and recipe of `device`, how far each feature has moved (T), for showing."""
    shown: list[dict[str, object]] = []
    for state in session.exec(select(DriftState).where(DriftState.device == device)):
        place = (state.device, state.line, state.camera)
        baseline = baselines.current(session, *place, recipe=state.recipe)
        known = baselines.unpack({**baseline.features, **baseline.scores}) if baseline else {}
        tracked = {name: _tracked(stored) for name, stored in state.features.items()}
        moved = movements(known, {k: v for k, v in tracked.items() if k in known})
        shown.append({
            "line": state.line,
            "camera": state.camera,
            "recipe": state.recipe,
            "baseline": baseline.id if baseline else None,
            "collected": len(state.collected),
            "image": {k: round(m.strength, 3) for k, m in moved.items() if k not in SCORES},
            "scores": {k: round(m.strength, 3) for k, m in moved.items() if k in SCORES},
        })  # fmt: skip
    return shown
