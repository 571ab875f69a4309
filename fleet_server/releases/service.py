"""Takes bundles in, collects signatures, publishes what has enough of them.

The database holds the draft and its signatures; at the threshold `publish_ready` brings it into the
image repository and marks it. Killed between the two, the next start does the rest.
"""

import json
import logging
from typing import Any

from sqlmodel import Session, col, select

from fleet_contract.archive import digest as archive_digest
from fleet_contract.archive import read as read_archive
from fleet_contract.errors import BundleError, StateError, TrustError
from fleet_contract.manifest import Manifest, describe
from fleet_contract.trust.custom import ImageCustom, target_name
from fleet_server.audit.service import record
from fleet_server.errors import NotFoundError
from fleet_server.registry.service import find_line
from fleet_server.releases.models import EncodingRow, Release
from fleet_server.releases.rules import OPEN, Encoded, ReleaseState, check_gates, check_open, encode
from fleet_server.services import Services
from fleet_server.trust.image import ImageRepository

log = logging.getLogger(__name__)

RULE = "rule:releases"


def submit(services: Services, actor: str, archive: bytes, run: str | None = None) -> Release:
    """Checks and stores an archive and drafts its approval; the same archive again changes nothing.

    Raises BundleError for a broken archive, NotFoundError for a line that is not there, StateError
    for an epoch below the line's.
    """
    manifest, files = read_archive(archive)
    digest = archive_digest(archive)
    with services.database.read() as session:
        known = session.get(Release, digest)
        line = find_line(session, manifest.line)
    if known:
        return known
    if manifest.epoch < line.epoch:
        raise StateError(
            f"the bundle's epoch lies below that of line {line.name}",
            expected=f"at least {line.epoch}",
            found=str(manifest.epoch),
        )
    evaluation = _evaluation(manifest, files)
    encoded = encode(archive)
    for blob in (archive, encoded.data, encoded.hashes):
        services.store.put(blob)
    draft = services.trust.image.draft(digest, len(archive), _custom(manifest, encoded))
    now = services.clock.time()
    release = Release(
        digest=digest,
        line=manifest.line,
        length=len(archive),
        epoch=manifest.epoch,
        hardware=manifest.hardware,
        describe=describe(manifest),
        evaluation=evaluation,
        lineage=manifest.lineage.model_dump(mode="json"),
        encodings=[encoded.encoding.model_dump(mode="json")],
        run=run,
        draft=draft.decode(),
        threshold=services.trust.image.signers(draft)[1],
        created_at=now,
        created_by=actor,
    )
    with services.database.write() as session:
        if known := session.get(Release, digest):
            return known  # The same bundle came twice at the same time.
        session.add(release)
        if session.get(EncodingRow, encoded.encoding.digest) is None:
            session.add(_encoding_row(digest, encoded))
        data = {"line": release.line, "epoch": release.epoch, "run": run}
        record(session, now, actor, "release.submit", digest, data)
    _tell(services, digest)
    return release


def _evaluation(manifest: Manifest, files: dict[str, bytes]) -> dict[str, Any]:
    try:
        report = json.loads(files[manifest.evaluation])
    except ValueError as error:
        raise BundleError(f"{manifest.evaluation} in the bundle is not JSON") from error
    if not isinstance(report, dict):
        raise BundleError(f"{manifest.evaluation} in the bundle is not a JSON object")
    return report


def _custom(manifest: Manifest, encoded: Encoded) -> ImageCustom:
    return ImageCustom(
        line=manifest.line,
        epoch=manifest.epoch,
        hardware=manifest.hardware,
        encodings=[encoded.encoding],
    )


def _encoding_row(bundle: str, encoded: Encoded) -> EncodingRow:
    one = encoded.encoding
    return EncodingRow(
        digest=one.digest,
        bundle=bundle,
        kind=one.kind,
        length=one.length,
        block_size=one.block_size,
        hashes_digest=one.hashes_digest,
    )


def find_release(session: Session, digest: str) -> Release:
    """Raises NotFoundError where it is not there; a unique beginning of the digest will do."""
    release = session.get(Release, digest)
    if release:
        return release
    like = col(Release.digest).startswith(digest, autoescape=True)
    found = session.exec(select(Release).where(like).limit(2)).all() if len(digest) >= 6 else []
    if len(found) == 1:
        return found[0]
    raise NotFoundError(
        f"no release has the digest {digest[:80]!r}",
        remedy="`loupe release list` shows them; six characters that only one has are enough.",
    )


def list_releases(session: Session, line: str | None = None, limit: int = 100) -> list[Release]:
    """The latest first."""
    query = select(Release).order_by(col(Release.created_at).desc()).limit(limit)
    return list(session.exec(query.where(Release.line == line) if line else query))


def to_sign(services: Services, digest: str) -> Release:
    """The release with a draft that can still be published.

    Where another release was published after the draft was made, it is drafted again and its
    signatures are gone. Raises StateError for a release that is approved or refused, or that misses
    the gates of its line.
    """
    with services.database.read() as session:
        release = find_release(session, digest)
    check_open(release.state, release.digest)
    check_gates(release.evaluation, release.digest)
    if release.draft and services.trust.image.follows(release.draft.encode()):
        return release
    custom = ImageCustom.of(release.model_dump(include={"line", "epoch", "hardware", "encodings"}))
    draft = services.trust.image.draft(release.digest, release.length, custom).decode()
    with services.database.write() as session:
        release = find_release(session, digest)
        check_open(release.state, release.digest)
        data = {"signatures_lost": len(release.signed_by)}
        release.draft, release.signed_by = draft, []
        release.state = ReleaseState.BUILT
        session.add(release)
        record(session, services.clock.time(), RULE, "release.redraft", release.digest, data)
    _tell(services, release.digest)
    return release


def sign(
    services: Services,
    actor: str,
    digest: str,
    keyid: str,
    signature: str,
) -> Release:
    """Adds a signature; at the threshold the release is published.

    Raises TrustError for a key that may not sign or a signature that does not fit; StateError for a
    release that is approved or refused, misses the gates of its line, or was drafted again since.
    """
    with services.database.read() as session:
        release = find_release(session, digest)
    check_open(release.state, release.digest)
    check_gates(release.evaluation, release.digest)
    before = release.draft or ""
    if not before or not services.trust.image.follows(before.encode()):
        raise StateError(
            "another release was published since this one was drafted",
            remedy="Ask for what is to be signed again, and sign that.",
        )
    draft = services.trust.image.add_signature(before.encode(), keyid, signature)
    signers, _ = services.trust.image.signers(draft)
    with services.database.write() as session:
        release = find_release(session, digest)
        if release.draft != before or release.state not in OPEN:
            raise StateError("the release was changed at the same time", remedy="Try again.")
        release.draft, release.signed_by = draft.decode(), signers
        release.state = ReleaseState.AWAITING_APPROVAL
        session.add(release)
        data = {"keyid": keyid, "signatures": len(signers), "threshold": release.threshold}
        record(session, services.clock.time(), actor, "release.sign", release.digest, data)
    publish_ready(services)
    _tell(services, release.digest)
    with services.database.read() as session:
        return find_release(session, release.digest)


def publish_ready(services: Services) -> list[str]:
    """Publishes releases that have all signatures; the digests that are approved by it.

    Safe to repeat: one that was published just before a crash is only marked.
    """
    with services.database.read() as session:
        waiting = session.exec(
            select(Release).where(Release.state == ReleaseState.AWAITING_APPROVAL)
        ).all()
    approved = []
    for release in waiting:
        if len(release.signed_by) < release.threshold or not release.draft:
            continue
        version = _publish(services.trust.image, release)
        if version is not None:
            _mark_approved(services, release.digest, version)
            approved.append(release.digest)
    return approved


def _publish(image: ImageRepository, release: Release) -> int | None:
    with image.lock:
        if image.holds(release.line, release.digest):
            return image.published().targets.signed.version
        draft = (release.draft or "").encode()
        # Another release came first: this one is drafted again when somebody asks to sign it.
        return image.publish(draft) if image.follows(draft) else None


def _mark_approved(services: Services, digest: str, version: int) -> None:
    now = services.clock.time()
    with services.database.write() as session:
        release = find_release(session, digest)
        if release.state != ReleaseState.AWAITING_APPROVAL:
            return
        release.state, release.version, release.approved_at = ReleaseState.APPROVED, version, now
        session.add(release)
        data = {"signed_by": release.signed_by, "version": version}
        record(session, now, RULE, "release.approve", digest, data)
    log.info("release %s is approved (version %d of the image targets)", digest[:12], version)


def refuse(services: Services, actor: str, digest: str, reason: str) -> Release:
    """A person says no; final. Raises StateError where the release is approved or refused already."""
    now = services.clock.time()
    with services.database.write() as session:
        release = find_release(session, digest)
        check_open(release.state, release.digest)
        release.state, release.refused_by, release.refused_reason = (
            ReleaseState.REFUSED, actor, reason,
        )  # fmt: skip
        session.add(release)
        record(session, now, actor, "release.refuse", release.digest, {"reason": reason})
    _tell(services, release.digest)
    return release


def check_approved(release: Release) -> None:
    """Raises TrustError, naming the signatures that are missing, for a release not approved."""
    if release.state == ReleaseState.REFUSED:
        raise TrustError(
            f"release {release.digest[:12]} was refused by {release.refused_by}",
            found=release.refused_reason,
        )
    if release.state != ReleaseState.APPROVED:
        raise TrustError(
            f"release {release.digest[:12]} is not approved",
            expected=f"signatures of {release.threshold} keys",
            found=f"{len(release.signed_by)}",
            remedy="`loupe release approve` adds one.",
        )


def target_of(release: Release) -> str:
    """Name of the release's target in both repositories."""
    return target_name(release.line, release.digest)


def encoding(session: Session, digest: str) -> EncodingRow:
    """Raises NotFoundError for an encoding that no release has."""
    row = session.get(EncodingRow, digest)
    if row is None:
        raise NotFoundError(f"no wire encoding has the digest {digest}")
    return row


def _tell(services: Services, digest: str) -> None:
    services.bus.publish("releases", {"release": digest})
