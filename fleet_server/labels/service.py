"""Keeps samples and labels, and makes dataset versions of them."""

import hashlib
import re
from typing import Any

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, func, select

from fleet_contract.dataset import GOOD, DatasetItem, DatasetVersion, parse_version
from fleet_contract.errors import ConfigError, DataError, StateError
from fleet_contract.messages import Record, SampleBody
from fleet_server.audit.service import record as audit
from fleet_server.drift.models import GATHERING, Incident
from fleet_server.errors import NotFoundError
from fleet_server.labels.counts import count
from fleet_server.labels.models import DatasetRow, Sample
from fleet_server.store import Store

_LABEL = re.compile(r"[a-z0-9_-]{1,40}")


def add_sample(
    session: Session,
    device: str,
    spool_id: str,
    record: Record,
    body: SampleBody,
    now: float,
    incident: int | None,
    heat_map: str | None = None,
) -> Sample:
    """Stores a sample whose bytes are in the store; a known sample id is left as it is.

    `heat_map` is the digest of its defect map in the store.
    """
    known = session.get(Sample, (body.sample_id, device))
    if known:
        return known
    fields = body.model_dump(
        exclude={"v", "sha256", "blocks", "media_type", "heat_map"}, mode="json"
    )
    names = Sample.model_fields.keys() & fields.keys()
    sample = Sample(
        **{name: fields[name] for name in names},
        device=device,
        spool_id=spool_id,
        blob=body.sha256,
        heat_map=heat_map,
        time_s=record.time_s,
        received_at=now,
        incident=incident,
    )
    session.add(sample)
    session.flush()
    return sample


def find_sample(session: Session, sample_id: str, device: str | None = None) -> Sample:
    """Raises NotFoundError where it is not there."""
    query = select(Sample).where(Sample.sample_id == sample_id)
    if device:
        query = query.where(Sample.device == device)
    sample = session.exec(query.limit(1)).first()
    if sample is None:
        raise NotFoundError(f"no sample is called {sample_id[:80]!r}")
    return sample


def list_samples(
    session: Session,
    *,
    state: str | None = None,
    line: str | None = None,
    why: str | None = None,
    incident: int | None = None,
    device: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[Sample]:
    """Samples, the oldest first. `state`: `labelled` or `unlabelled`."""
    wanted: list[ColumnElement[bool]] = []
    if state == "unlabelled":
        wanted.append(col(Sample.label).is_(None))
    if state == "labelled":
        wanted.append(col(Sample.label).is_not(None))
    for column, value in (
        (col(Sample.line), line),
        (col(Sample.why), why),
        (col(Sample.incident), incident),
        (col(Sample.device), device),
    ):
        if value is not None:
            wanted.append(column == value)
    query = select(Sample).where(*wanted).order_by(col(Sample.received_at), col(Sample.sample_id))
    return list(session.exec(query.limit(limit).offset(offset)))


def set_label(session: Session, now: float, by: str, sample_id: str, label: str) -> Sample:
    """A person's judgement: `good`, or a kind of defect. Raises ConfigError for another text."""
    if not _LABEL.fullmatch(label):
        raise ConfigError(
            "that cannot be a label",
            expected="`good`, `defect` or a kind of defect: lower-case letters, digits, - or _",
            found=label[:80],
        )
    sample = find_sample(session, sample_id)
    before = sample.label
    sample.label, sample.labelled_by, sample.labelled_at = label, by, now
    session.add(sample)
    audit(session, now, by, "sample.label", sample_id, {"label": label, "before": before})
    session.flush()
    return sample


def reviewed_disagreements(
    session: Session, line: str, champion: str | None, challenger: str
) -> tuple[int, int]:
    """(challenger was right, champion was right) over labelled parts on which the two disagree.

    Without a champion its word is that of the people or the system that judge today.
    """
    query = select(Sample).where(
        Sample.line == line,
        Sample.digest == champion,
        Sample.candidate_digest == challenger,
        col(Sample.label).is_not(None),
        Sample.verdict != Sample.candidate_verdict,
    )
    right = [0, 0]
    for sample in session.exec(query):
        truth = "accept" if sample.label == GOOD else "reject"
        right[0] += sample.candidate_verdict == truth
        right[1] += sample.verdict == truth
    return right[0], right[1]


def count_labelled(session: Session, incident: int) -> tuple[int, int]:
    """(samples, labelled ones) of an incident."""
    labelled = func.count(col(Sample.label))
    query = select(func.count(), labelled).where(Sample.incident == incident)
    total, done = session.exec(query).one()
    return total, done


def newest_sample(session: Session, incident: int) -> float | None:
    """When the incident's latest sample came; None before the first."""
    query = select(func.max(col(Sample.received_at))).where(Sample.incident == incident)
    return session.exec(query).one()


def add_dataset(
    session: Session, store: Store, now: float, actor: str, version: DatasetVersion
) -> DatasetRow:
    """Stores a version; storing it again changes nothing.

    Raises DataError where a blob that it names is not in the store, StateError where a holdout
    item of its parent would become a training item.
    """
    digest = version.digest()
    known = session.get(DatasetRow, digest)
    if known:
        return known
    _check_blobs(version, store)
    _check_parent(session, store, version)
    store.put(version.canonical())
    row = DatasetRow(
        digest=digest,
        line=version.line,
        parent=version.parent,
        reason=version.reason,
        channels=version.channels,
        train=len(version.side("train")),
        holdout=len(version.side("holdout")),
        created_at=now,
        counts=count(version).model_dump(),
    )
    session.add(row)
    mark_used(session, version.line, digest, {item.sha256 for item in version.items})
    data: dict[str, Any] = {"line": row.line, "train": row.train, "holdout": row.holdout}
    audit(session, now, actor, "dataset.add", digest, {**data, "reason": row.reason})
    session.flush()
    return row


def new_labels(session: Session, line: str) -> list[Sample]:
    """Labelled samples of the line that no dataset version holds, the oldest label first.

    Those of an incident that is still gathering its samples are left to it.
    """
    gathering = select(Incident.id).where(col(Incident.state).in_(GATHERING))
    query = select(Sample).where(
        Sample.line == line,
        col(Sample.label).is_not(None),
        col(Sample.dataset).is_(None),
        or_(col(Sample.incident).is_(None), col(Sample.incident).not_in(gathering)),
    )
    return list(session.exec(query.order_by(col(Sample.labelled_at), col(Sample.sample_id))))


def mark_used(session: Session, line: str, digest: str, blobs: set[str]) -> None:
    """Notes on the line's labelled samples among `blobs` that version `digest` holds them."""
    query = select(Sample).where(
        Sample.line == line, col(Sample.label).is_not(None), col(Sample.dataset).is_(None)
    )
    for sample in session.exec(query):
        if sample.blob in blobs:
            sample.dataset = digest
            session.add(sample)


def _check_blobs(version: DatasetVersion, store: Store) -> None:
    named = {item.sha256 for item in version.items}
    named |= {item.mask for item in version.items if item.mask}
    missing = sorted(digest for digest in named if not store.has(digest))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(named)} files of the dataset are not in the store",
            found=f"none with digest {missing[0]}",
            remedy="Put the files first: PUT /api/v1/blobs/DIGEST.",
        )


def _check_parent(session: Session, store: Store, version: DatasetVersion) -> None:
    # A thawed version says why its holdout is another one; it is compared with none before it.
    if version.thawed or version.parent is None:
        return
    if session.get(DatasetRow, version.parent) is None:
        return
    held = {item.sha256 for item in load_dataset(session, store, version.parent).side("holdout")}
    leaked = [item for item in version.side("train") if item.sha256 in held]
    if leaked:
        raise StateError(
            f"{len(leaked)} holdout images of the parent would become training images",
            remedy="The holdout stays what it is, or versions cannot be compared.",
        )


def find_dataset(session: Session, digest: str) -> DatasetRow:
    """Raises NotFoundError where the version is not there."""
    row = session.get(DatasetRow, digest)
    if row is None:
        raise NotFoundError(f"no dataset version has the digest {digest[:80]!r}")
    return row


def load_dataset(session: Session, store: Store, digest: str) -> DatasetVersion:
    """Raises NotFoundError where the version is not there."""
    find_dataset(session, digest)
    return parse_version(store.read(digest))


def list_datasets(session: Session, line: str | None = None) -> list[DatasetRow]:
    """The oldest first."""
    query = select(DatasetRow).order_by(col(DatasetRow.created_at))
    return list(session.exec(query.where(DatasetRow.line == line) if line else query))


def split_of(group: str, holdout_share: float) -> str:
    """`train` or `holdout`, from the part's name alone: the same part always on the same side."""
    value = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32
    return "holdout" if value < holdout_share else "train"


def item_of(sample: Sample, holdout_share: float) -> DatasetItem:
    """A labelled sample as an image of a dataset."""
    part = f"{sample.device}:{sample.spool_id}:{sample.part}"
    slices = {"station": sample.device}
    if sample.incident is not None:
        slices["incident"] = str(sample.incident)
    return DatasetItem.model_validate(
        {
            "sha256": sample.blob,
            "label": sample.label,
            "group": part,
            "split": split_of(part, holdout_share),
            "slices": slices,
            "source": part,
        }
    )
