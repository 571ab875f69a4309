"""Releases over HTTP: submit, sign, look at, fetch."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from fleet_contract.names import Digest
from fleet_server.errors import TooLargeError
from fleet_server.releases import service
from fleet_server.releases.models import Release
from fleet_server.services import ServicesDep

router = APIRouter(tags=["releases"])

By = Annotated[str, Query(max_length=80, description="Who does it, for the audit log.")]


class Submitted(BaseModel):
    """Answer to a submission."""

    digest: Digest
    line: str
    state: str


class ReleaseOut(BaseModel):
    """A release without its draft."""

    digest: str
    line: str
    state: str
    length: int
    epoch: int
    hardware: list[str]
    describe: dict[str, Any]
    evaluation: dict[str, Any]
    lineage: dict[str, Any]
    encodings: list[dict[str, Any]]
    run: str | None
    signed_by: list[str]
    threshold: int
    created_at: float
    created_by: str
    approved_at: float | None
    version: int | None
    refused_by: str | None
    refused_reason: str

    @classmethod
    def of(cls, release: Release) -> "ReleaseOut":
        """From the row."""
        return cls.model_validate(release.model_dump(exclude={"draft"}))


class ToSign(BaseModel):
    """What a key is to sign, and what it says."""

    digest: Digest
    target: str
    metadata: dict[str, Any]
    """TUF targets: signed part and signatures so far."""
    previous: dict[str, Any]
    """The published targets, so that the signer sees that only this release is added."""
    describe: dict[str, Any]
    signatures: int
    threshold: int


class SignatureIn(BaseModel):
    """One signature of the metadata."""

    keyid: str = Field(max_length=128)
    sig: str = Field(max_length=512, pattern=r"^[0-9a-f]+$")


class Signed(BaseModel):
    """How far the approval is."""

    state: str
    signatures: int
    threshold: int


class RefusalIn(BaseModel):
    """Why a person says no."""

    reason: str = Field(min_length=1, max_length=500)


@router.post("/releases", status_code=201)
async def submit(
    request: Request,
    services: ServicesDep,
    run: Annotated[str | None, Query(max_length=64)] = None,
    by: By = "operator",
) -> Submitted:
    """Takes a bundle's archive as the raw body."""
    archive = await _body(request, services.config.limits.blob)
    actor = f"run:{run}" if run else by
    release = await run_in_threadpool(service.submit, services, actor, archive, run)
    return Submitted(digest=release.digest, line=release.line, state=release.state)


async def _body(request: Request, limit: int) -> bytes:
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > limit:
            raise TooLargeError("the bundle is too large", expected=f"at most {limit} bytes")
        parts.append(part)
    return b"".join(parts)


@router.get("/releases")
def list_releases(services: ServicesDep, line: str | None = None) -> list[ReleaseOut]:
    """The latest first."""
    with services.database.read() as session:
        return [ReleaseOut.of(release) for release in service.list_releases(session, line)]


@router.get("/releases/{digest}")
def show(services: ServicesDep, digest: str) -> ReleaseOut:
    """One release."""
    with services.database.read() as session:
        return ReleaseOut.of(service.find_release(session, digest))


@router.get("/releases/{digest}/to-sign")
def to_sign(services: ServicesDep, digest: str) -> ToSign:
    """What is to be signed. Where another release came first it is drafted again, without signatures."""
    release = service.to_sign(services, digest)
    return ToSign(
        digest=release.digest,
        target=service.target_of(release),
        metadata=services.trust.image.as_json((release.draft or "").encode()),
        previous=services.trust.image.as_json(services.trust.image.targets_bytes()),
        describe=release.describe,
        signatures=len(release.signed_by),
        threshold=release.threshold,
    )


@router.post("/releases/{digest}/signatures")
def sign(
    services: ServicesDep,
    digest: str,
    body: SignatureIn,
    by: By = "operator",
) -> Signed:
    """Adds a signature; with the last one the release is published."""
    release = service.sign(services, by, digest, body.keyid, body.sig)
    return Signed(
        state=release.state, signatures=len(release.signed_by), threshold=release.threshold
    )


@router.post("/releases/{digest}/refuse")
def refuse(services: ServicesDep, digest: str, body: RefusalIn, by: By = "operator") -> ReleaseOut:
    """A person says no."""
    return ReleaseOut.of(service.refuse(services, by, digest, body.reason))


@router.get("/bundles/{digest}", response_class=FileResponse)
def bundle(services: ServicesDep, digest: str) -> FileResponse:
    """The archive of a release, byte for byte."""
    with services.database.read() as session:
        release = service.find_release(session, digest)
    return FileResponse(
        services.store.path(release.digest),
        media_type="application/x-tar",
        filename=f"{release.line}-{release.digest[:12]}.tar",
    )
