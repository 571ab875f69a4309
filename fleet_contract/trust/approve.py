"""Approving a release: looking at what is to be signed, and signing it. No IO.

The key never leaves the person or the pipeline that holds it; what goes back is a signature. What is
signed is the whole list of the image repository's targets, so the list is compared with the one
before: it must add the target that was asked for, and change nothing else.
"""

from dataclasses import dataclass
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Targets

from fleet_contract.errors import TrustError
from fleet_contract.trust.custom import ImageCustom, target_name


@dataclass(frozen=True, slots=True)
class Review:
    """What a signature would approve."""

    target: str
    sha256: str
    length: int
    custom: ImageCustom
    version: int
    """Version of the list of targets that is signed."""
    signed_by: tuple[str, ...]
    """Key ids of the signatures that are there already."""


def parse_targets(metadata: bytes) -> Metadata[Targets]:
    """Signed targets, not verified. Raises TrustError where `metadata` are none."""
    try:
        parsed = Metadata[Targets].from_bytes(metadata)
    except RepositoryError as error:
        raise TrustError(f"what is to be signed is not TUF metadata: {error}") from error
    if not isinstance(parsed.signed, Targets):
        raise TrustError("what is to be signed are no targets", found=parsed.signed.type)
    return parsed


def review(metadata: bytes, *, target: str, previous: bytes | None = None) -> Review:
    """What signing `metadata` would approve.

    Raises TrustError where it does not hold `target` as `{line}/{digest}.tar`, or where anything else
    differs from `previous` (the published targets; without them only the target itself is looked at).
    """
    parsed = parse_targets(metadata)
    entry = parsed.signed.targets.get(target)
    if entry is None:
        raise TrustError(
            f"what is to be signed does not hold {target}", remedy="Nothing was signed."
        )
    custom = ImageCustom.of(entry.custom)
    sha256 = entry.hashes.get("sha256", "")
    if target != target_name(custom.line, sha256):
        raise TrustError(
            "the target's name is not that of its content",
            expected=target,
            found=target_name(custom.line, sha256),
        )
    if previous is not None:
        _adds_only(target, parse_targets(previous).signed, parsed.signed)
    return Review(
        target,
        sha256,
        entry.length,
        custom,
        parsed.signed.version,
        tuple(sorted(parsed.signatures)),
    )


def _adds_only(target: str, before: Targets, after: Targets) -> None:
    if after.version != before.version + 1:
        raise TrustError(
            "what is to be signed does not follow the published list",
            expected=f"version {before.version + 1}",
            found=f"version {after.version}",
            remedy="Ask for it again.",
        )
    rest = {path: entry.to_dict() for path, entry in after.targets.items() if path != target}
    known = {path: entry.to_dict() for path, entry in before.targets.items() if path != target}
    if target in before.targets:
        raise TrustError(f"{target} is published already")
    changed = sorted(path for path in rest.keys() | known if rest.get(path) != known.get(path))
    if changed:
        raise TrustError(
            "what is to be signed changes more than the release that was asked for",
            found=", ".join(changed[:5]),
            remedy="Nothing was signed.",
        )
    if _rest(before) != _rest(after):
        raise TrustError(
            "what is to be signed changes delegations or floors", remedy="Nothing was signed."
        )


def _rest(targets: Targets) -> dict[str, Any]:
    everything = targets.to_dict()
    return {
        key: value
        for key, value in everything.items()
        if key not in ("targets", "version", "expires", "spec_version")
    }


def signed_by(metadata: bytes, key: Key) -> bool:
    """Whether `metadata` bear a good signature of `key`.

    A list that one signed oneself is a history that nobody else made up.
    """
    parsed = parse_targets(metadata)
    signature = parsed.signatures.get(key.keyid)
    if signature is None:
        return False
    try:
        key.verify_signature(signature, parsed.signed_bytes)
    except UnverifiedSignatureError:
        return False
    return True


def sign_release(
    metadata: bytes, *, target: str, signer: Signer, previous: bytes | None = None
) -> tuple[str, str]:
    """Key id and signature (hex) of `metadata`, after `review`.

    Raises TrustError where the review does, or where `previous` was not signed by this key.
    """
    if previous is not None and not signed_by(previous, signer.public_key):
        raise TrustError(
            "the published list that the server shows was never signed by this key",
            remedy="Nothing was signed; check the key, then ask who published it.",
        )
    review(metadata, target=target, previous=previous)
    signature = signer.sign(parse_targets(metadata).signed_bytes)
    return signature.keyid, signature.signature
