"""Datasets: what each line trains from and when, its versions, and what each of them holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from fleet_server.console import words
from fleet_server.console.render import ACTOR, ConsoleRoute, go, page
from fleet_server.console.show import Badge, Fact, absolute, number, plain
from fleet_server.labels.counts import Counts, Tally
from fleet_server.labels.models import DatasetRow
from fleet_server.labels.service import find_dataset, list_datasets
from fleet_server.registry.service import list_lines
from fleet_server.runs import triggers
from fleet_server.runs.models import TrainingRun
from fleet_server.runs.result import sentence
from fleet_server.runs.service import runs_on
from fleet_server.services import ServicesDep

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line: what it trains from, and what starts its runs."""

    name: str
    dataset: str
    champion: str
    new_labels: int
    starts: str
    note: str
    button: str
    """Empty where the line cannot be trained."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A dataset version in a list."""

    digest: str
    line: str
    current: Badge | None
    reason: str
    train: str
    holdout: str
    made_s: float


@dataclass(frozen=True, slots=True)
class DatasetsPage:
    """Lines by name, and all versions, the newest first."""

    lines: list[LineRow]
    versions: list[VersionRow]


@dataclass(frozen=True, slots=True)
class Table:
    """Images by side: a row for each value."""

    title: str
    rows: list[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run on a version, and what came of it."""

    id: str
    state: Badge
    result: str


@dataclass(frozen=True, slots=True)
class DatasetPage:
    """One version."""

    digest: str
    facts: list[Fact]
    tables: list[Table]
    runs: list[RunLine]


def line_row(outlook: triggers.Outlook) -> LineRow:
    """The line as the page shows it."""
    count = outlook.new_labels
    with_labels = f"Train with {number(count)} new label{'' if count == 1 else 's'}"
    return LineRow(
        name=outlook.line,
        dataset=outlook.dataset or "",
        champion=outlook.champion or "",
        new_labels=count,
        starts=_starts(outlook),
        note=outlook.note,
        button=(with_labels if count else "Train") if outlook.ready else "",
    )


def _starts(outlook: triggers.Outlook) -> str:
    said = []
    if outlook.after_labels is not None:
        said.append(f"after {number(outlook.after_labels)} new labels")
    if outlook.next_at is not None:
        said.append(f"{outlook.schedule}, next at {absolute(outlook.next_at)}")
    return "; ".join(said)


def version_row(
    row: DatasetRow, parents: Mapping[str, DatasetRow], current: Sequence[str]
) -> VersionRow:
    """The version as lists show it: how much it holds, and how much more than its parent."""
    parent = parents.get(row.parent or "")
    return VersionRow(
        digest=row.digest,
        line=row.line,
        current=Badge("current", "ok") if row.digest in current else None,
        reason=row.reason,
        train=_grown(row.train, parent.train if parent else None),
        holdout=_grown(row.holdout, parent.holdout if parent else None),
        made_s=row.created_at,
    )


def _grown(count: int, before: int | None) -> str:
    if before is None or before == count:
        return number(count)
    return f"{number(count)} ({count - before:+d})"


def tables(row: DatasetRow) -> list[Table]:
    """What the version holds; nothing where it is older than the counting."""
    if not row.counts:
        return []
    counts = Counts.model_validate(row.counts)
    whole = {
        "images": counts.images, "parts": counts.parts, "defective images": counts.defective,
        "with the defect marked": counts.masked,
    }  # fmt: skip
    shown = [Table("All", _rows(whole)), Table("By class", _rows(counts.labels))]
    slices = [Table(f"By {plain(name)}", _rows(values)) for name, values in counts.slices.items()]
    return shown + slices


def _rows(tallies: Mapping[str, Tally]) -> list[tuple[str, int, int]]:
    return [(plain(name), tally.train, tally.holdout) for name, tally in tallies.items()]


def build(row: DatasetRow, trained: Sequence[TrainingRun]) -> DatasetPage:
    """The page of one version and of the runs that trained from it."""
    facts = [Fact("Line", row.line), Fact("Digest", row.digest), Fact("Why", row.reason)]
    if row.parent:
        facts.append(Fact("Made from", row.parent, f"/datasets/{row.parent}", digest=True))
    facts.append(Fact("Made", absolute(row.created_at)))
    return DatasetPage(
        digest=row.digest,
        facts=facts,
        tables=tables(row),
        runs=[
            RunLine(
                id=run.id,
                state=words.run(run.state, cancelling=run.cancel_requested),
                result=sentence(run) or run.error or run.message,
            )
            for run in trained
        ],
    )


@router.get("/datasets")
def datasets(request: Request, services: ServicesDep) -> HTMLResponse:
    """What every line trains from."""
    now = services.clock.time()
    with services.database.read() as session:
        outlooks = [triggers.outlook(session, line, now) for line in list_lines(session)]
        rows = list_datasets(session)
    known = {row.digest: row for row in rows}
    current = [outlook.dataset or "" for outlook in outlooks]
    view = DatasetsPage(
        lines=[line_row(outlook) for outlook in outlooks],
        versions=[version_row(row, known, current) for row in reversed(rows)],
    )
    return page(request, "datasets.html", now=now, page=view)


@router.get("/datasets/{digest}")
def dataset(request: Request, services: ServicesDep, digest: str) -> HTMLResponse:
    """One version."""
    with services.database.read() as session:
        view = build(find_dataset(session, digest), runs_on(session, digest))
    return page(request, "dataset.html", now=services.clock.time(), page=view)


@router.post("/lines/{line}/train")
def train(services: ServicesDep, line: str) -> RedirectResponse:
    """Queues a run of the line, new labels taken in; one that waits takes this in."""
    with services.database.write() as session:
        now = services.clock.time()
        run = triggers.start(
            session, services.store, now, ACTOR, line, kind="console", take_labels=True
        )
    services.bus.publish("runs", {"run": run.id, "state": run.state})
    return go(f"/runs/{run.id}")
