"""Incidents in words: the cause, what moved, and how far what follows is."""

from dataclasses import dataclass

from fleet_server.console import words
from fleet_server.console.show import Badge, Fact, Tone, number, percent, plain, short
from fleet_server.drift.models import Incident
from fleet_server.drift.rules import SHIFTS


@dataclass(frozen=True, slots=True)
class StepView:
    """One state of the playbook."""

    name: str
    tone: Tone
    text: str
    href: str
    link: str


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident."""

    id: str
    title: str
    state: Badge
    opened_s: float
    words: str
    evidence: list[Fact]
    steps: list[StepView]
    can_close: bool


def incident_view(incident: Incident, samples: int, labelled: int) -> IncidentView:
    """An incident in words; `samples` of it came, of which so many are labelled."""
    title, cause = words.CAUSES.get(incident.cause, (plain(incident.cause), ""))
    return IncidentView(
        id=str(incident.id),
        title=f"{title} on {incident.device}",
        state=words.incident(incident.state),
        opened_s=incident.opened_at,
        words=cause,
        evidence=_evidence(incident),
        steps=_steps(incident, samples, labelled),
        can_close=incident.state != "closed",
    )


def _evidence(incident: Incident) -> list[Fact]:
    moved = incident.evidence.get("moved", {})
    facts = [
        Fact("Line", incident.line),
        Fact("Camera", incident.camera),
        *([Fact("Recipe", incident.evidence["recipe"])] if incident.evidence.get("recipe") else []),
        Fact("Noticed after", f"{number(incident.parts_until_alarm)} parts"),
    ]
    for name, values in list(moved.items())[:5]:
        text = _change(name, float(values["change"]))
        facts.append(
            Fact(words.feature(name).capitalize(), f"{text}, T {number(values['strength'])}")
        )
    also = [
        words.CAUSES.get(cause, (plain(cause), ""))[0]
        for cause in incident.evidence.get("also", {})
    ]
    return [*facts, Fact("Since then also", ", ".join(also))] if also else facts


def _change(name: str, change: float) -> str:
    if name in SHIFTS:
        return f"{change:+.1f} px"
    return percent(change) if change < 0 else f"+{percent(change)}"


def _steps(incident: Incident, samples: int, labelled: int) -> list[StepView]:
    reached = words.PLAYBOOK.index(incident.state) if incident.state in words.PLAYBOOK else 0
    texts = {
        "sampling": (f"{number(samples)} samples came", "", ""),
        "labelling": (
            f"{number(labelled)} labelled",
            f"/review?incident={incident.id}" if samples > labelled else "",
            "Label them",
        ),
        "training": _run_link(incident),
        "closed": (f"by {incident.closed_by}" if incident.closed_by else "", "", ""),
    }
    steps = []
    for index, name in enumerate(words.PLAYBOOK):
        text, href, link = texts.get(name, ("", "", ""))
        if index == reached and incident.note:
            text = f"{text}; {incident.note}" if text else incident.note
        steps.append(StepView(plain(name), _tone(index, reached, incident), text, href, link))
    return steps


def _run_link(incident: Incident) -> tuple[str, str, str]:
    if not incident.run:
        return "", "", ""
    dataset = f"dataset {short(incident.dataset)}" if incident.dataset else ""
    return dataset, f"/runs/{incident.run}", "Training run"


def _tone(index: int, reached: int, incident: Incident) -> Tone:
    if incident.state == "closed":
        return "ok" if index == reached or incident.run else "idle"
    if index < reached:
        return "ok"
    return words.incident(incident.state).tone if index == reached else "idle"
