"""The review queue: one picture at a time, labelled by a click or a key."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlmodel import Session

from fleet_server.console import queries, words
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.show import Badge, Fact, absolute, number, plain
from fleet_server.labels import service
from fleet_server.labels.models import Sample
from fleet_server.services import ServicesDep

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which samples a person looks at; `skip` of those that wait are passed over."""

    why: str = ""
    incident: int | None = None
    skip: int = 0

    def href(self, **more: str) -> str:
        """The address of the queue."""
        values = {"why": self.why, "incident": self.incident or "", "skip": self.skip or "", **more}
        text = urlencode({name: value for name, value in values.items() if value})
        return f"/review?{text}" if text else "/review"


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice of samples, and how many of them wait."""

    name: str
    href: str
    count: int
    here: bool


@dataclass(frozen=True, slots=True)
class VerdictView:
    """What one model said."""

    who: str
    digest: str
    verdict: Badge
    score: str


@dataclass(frozen=True, slots=True)
class SampleView:
    """The picture to label."""

    id: str
    device: str
    part: int
    image: str
    heat_map: str
    """Address of the map over the image; empty where there is none."""
    why: str
    verdicts: list[VerdictView]
    facts: list[Fact]
    skip: str


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """The queue; `sample` is None when nothing waits."""

    sample: SampleView | None
    done: int
    total: int
    filters: list[Filter]
    choice: Choice
    last: str


def build(
    sample: Sample | None, groups: list[queries.SampleGroup], choice: Choice, last: str
) -> ReviewPage:
    """The page of one sample; `last` is the sample that was labelled before."""
    chosen = [group for group in groups if _fits(group, choice)]
    return ReviewPage(
        sample=_view(sample, choice) if sample else None,
        done=sum(group.labelled for group in chosen),
        total=sum(group.total for group in chosen),
        filters=_filters(groups, choice),
        choice=choice,
        last=choice.href(sample=last) if last else "",
    )


def _fits(group: queries.SampleGroup, choice: Choice) -> bool:
    return choice.why in ("", group.why) and choice.incident in (None, group.incident)


def _filters(groups: list[queries.SampleGroup], here: Choice) -> list[Filter]:
    choices = [("All", Choice())]
    choices += [(plain(why).capitalize(), Choice(why)) for why in sorted({g.why for g in groups})]
    numbers = sorted({g.incident for g in groups if g.incident is not None})
    choices += [(f"Incident {number}", Choice(incident=number)) for number in numbers]
    return [
        Filter(
            name=name,
            href=choice.href(),
            count=sum(g.total - g.labelled for g in groups if _fits(g, choice)),
            here=(choice.why, choice.incident) == (here.why, here.incident),
        )
        for name, choice in choices
    ]


def _view(sample: Sample, choice: Choice) -> SampleView:
    facts = [
        Fact("Station", sample.device, f"/stations/{sample.device}"),
        Fact("Line", sample.line),
        Fact("Part", number(sample.part)),
        Fact("Taken", absolute(sample.time_s)),
    ]
    if sample.incident is not None:
        facts.append(Fact("Incident", str(sample.incident), f"/drift#incident-{sample.incident}"))
    if sample.label:
        facts.append(Fact("Label so far", f"{sample.label}, by {sample.labelled_by}"))
    return SampleView(
        id=sample.sample_id,
        device=sample.device,
        part=sample.part,
        image=f"/api/v1/samples/{quote(sample.sample_id)}/image",
        heat_map=f"/api/v1/samples/{quote(sample.sample_id)}/heat-map" if sample.heat_map else "",
        why=words.WHY.get(sample.why, plain(sample.why)),
        verdicts=_verdicts(sample),
        facts=facts,
        skip=Choice(choice.why, choice.incident, choice.skip + 1).href(),
    )


def _verdicts(sample: Sample) -> list[VerdictView]:
    said = [(_first(sample), sample.digest, sample.verdict, sample.score)]
    if sample.candidate_verdict:
        candidate = (sample.candidate_digest, sample.candidate_verdict, sample.candidate_score)
        said.append(("Candidate", *candidate))
    return [
        VerdictView(who, digest or "", words.verdict(verdict), _score(score))
        for who, digest, verdict, score in said
    ]


def _first(sample: Sample) -> str:
    """Whose word the line's is: where no bundle is active a candidate is beside who judges today."""
    return "Judge today" if sample.candidate_verdict and sample.digest is None else "Active"


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.3f}"


def _next(session: Session, choice: Choice) -> Sample | None:
    for offset in {choice.skip: None, 0: None}:
        found = service.list_samples(
            session,
            state="unlabelled",
            why=choice.why or None,
            incident=choice.incident,
            limit=1,
            offset=offset,
        )
        if found:
            return found[0]
    return None


@router.get("/review")
def review(
    request: Request,
    services: ServicesDep,
    why: str = "",
    incident: int | None = None,
    skip: int = 0,
    last: str = "",
    sample: str = "",
) -> HTMLResponse:
    """The next picture that waits, or `sample` again."""
    choice = Choice(why, incident, max(skip, 0))
    with services.database.read() as session:
        shown = service.find_sample(session, sample) if sample else _next(session, choice)
        view = build(shown, queries.sample_groups(session), choice, last)
    return page(request, "review.html", now=services.clock.time(), page=view)


@router.post("/review/{sample_id}/label")
def label(
    services: ServicesDep,
    sample_id: str,
    label: Annotated[str, Form()],
    why: Annotated[str, Form()] = "",
    incident: Annotated[int | None, Form()] = None,
    skip: Annotated[int, Form()] = 0,
) -> RedirectResponse:
    """Keeps the label and goes on to the next picture."""
    with services.database.write() as session:
        found = service.set_label(session, services.clock.time(), ACTOR, sample_id, label)
    services.bus.publish("samples", {"sample": sample_id, "incident": found.incident})
    return go(Choice(why, incident, max(skip, 0)).href(last=sample_id))
