"""Samples, labels, datasets and blobs over HTTP."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from fleet_contract.dataset import DatasetVersion
from fleet_server.errors import NotFoundError
from fleet_server.labels import service
from fleet_server.labels.models import DatasetRow, Sample
from fleet_server.registry.service import set_dataset
from fleet_server.services import ServicesDep

router = APIRouter(tags=["labels"])

_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
_RAW = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}


class LabelBody(BaseModel):
    """A person's judgement of a sample."""

    label: str
    """`good`, `defect`, or a kind of defect."""
    by: str = Field(default="operator", min_length=1, max_length=100)


class DatasetAdded(BaseModel):
    """The digest that a version is addressed by."""

    digest: str


@router.get("/samples")
def samples(
    services: ServicesDep,
    state: Literal["labelled", "unlabelled"] | None = None,
    line: str | None = None,
    why: str | None = None,
    incident: int | None = None,
    device: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> list[Sample]:
    """Samples, the oldest first."""
    with services.database.read() as session:
        return service.list_samples(
            session,
            state=state,
            line=line,
            why=why,
            incident=incident,
            device=device,
            limit=limit,
            offset=offset,
        )


@router.get("/samples/{sample_id}")
def sample(services: ServicesDep, sample_id: str) -> Sample:
    """One sample."""
    with services.database.read() as session:
        return service.find_sample(session, sample_id)


@router.get("/samples/{sample_id}/image", response_class=FileResponse)
def image(services: ServicesDep, sample_id: str) -> FileResponse:
    """The sample's PNG, as the device sent it."""
    with services.database.read() as session:
        found = service.find_sample(session, sample_id)
    path = services.store.path(found.blob)
    return FileResponse(path, media_type="image/png", headers={**_IMMUTABLE, **_RAW})


@router.get("/samples/{sample_id}/heat-map", response_class=FileResponse)
def heat_map(services: ServicesDep, sample_id: str) -> FileResponse:
    """The defect map over the sample's image, a small grey PNG; 404 where there is none."""
    with services.database.read() as session:
        found = service.find_sample(session, sample_id)
    if found.heat_map is None:
        raise NotFoundError(f"sample {sample_id[:80]!r} has no heat map")
    path = services.store.path(found.heat_map)
    return FileResponse(path, media_type="image/png", headers={**_IMMUTABLE, **_RAW})


@router.post("/samples/{sample_id}/label")
def label(services: ServicesDep, sample_id: str, body: LabelBody) -> Sample:
    """Labels a sample; a later label replaces an earlier one, and both stay in the audit log."""
    with services.database.write() as session:
        found = service.set_label(session, services.clock.time(), body.by, sample_id, body.label)
    services.bus.publish("samples", {"sample": sample_id, "incident": found.incident})
    return found


@router.get("/datasets")
def datasets(services: ServicesDep, line: str | None = None) -> list[DatasetRow]:
    """Dataset versions, the oldest first."""
    with services.database.read() as session:
        return service.list_datasets(session, line)


@router.post("/datasets", status_code=201)
def add_dataset(
    services: ServicesDep,
    version: DatasetVersion,
    by: str = "operator",
    current: bool = True,
) -> DatasetAdded:
    """Adds a version whose files are in the store; `current` makes it its line's."""
    with services.database.write() as session:
        now = services.clock.time()
        row = service.add_dataset(session, services.store, now, by, version)
        if current:
            set_dataset(session, now, by, version.line, row.digest)
    return DatasetAdded(digest=row.digest)


@router.get("/datasets/{digest}")
def dataset(services: ServicesDep, digest: str) -> DatasetVersion:
    """One version, with all its items."""
    with services.database.read() as session:
        return service.load_dataset(session, services.store, digest)


@router.head("/blobs/{sha256}")
def has_blob(services: ServicesDep, sha256: str) -> Response:
    """Whether a file is in the store; 404 where it is not."""
    services.store.path(sha256)
    return Response()


@router.get("/blobs/{sha256}", response_class=FileResponse)
def blob(services: ServicesDep, sha256: str) -> FileResponse:
    """A file of the store."""
    path = services.store.path(sha256)
    media = "application/octet-stream"
    return FileResponse(path, media_type=media, headers={**_IMMUTABLE, **_RAW})


@router.put("/blobs/{sha256}", status_code=204)
async def put_blob(services: ServicesDep, sha256: str, request: Request) -> Response:
    """Stores the raw body; its SHA-256 has to be the one in the address. Again changes nothing."""
    with services.store.writer(limit=services.config.limits.blob) as writer:
        async for chunk in request.stream():
            writer.write(chunk)
        await run_in_threadpool(writer.finish, sha256)
    return Response(status_code=204)
