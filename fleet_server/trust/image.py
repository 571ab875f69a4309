"""The image repository: which bundles exist, signed by the pipeline's key and a person's."""

from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, TargetFile, Targets

from fleet_contract.errors import StateError, TrustError
from fleet_contract.trust.approve import parse_targets
from fleet_contract.trust.custom import ImageCustom, target_name
from fleet_server.trust.repository import Repository


class ImageRepository(Repository):
    """Drafts of the next list of targets collect signatures; at the threshold one is published."""

    def draft(self, digest: str, length: int, custom: ImageCustom) -> bytes:
        """The next list, with the bundle `digest` added, unsigned. Raises StateError if it is there."""
        name = target_name(custom.line, digest)
        with self.lock:
            targets = self.published().targets.signed
        if name in targets.targets:
            raise StateError(f"bundle {digest[:12]} is in the image repository already")
        targets.version += 1
        targets.expires = self.expires(self._lifetimes.offline_targets_s)
        targets.targets[name] = TargetFile(
            length, {"sha256": digest}, name, {"custom": custom.model_dump(mode="json")}
        )
        return Metadata(targets).to_bytes()

    def follows(self, draft: bytes) -> bool:
        """Whether `draft` still is the next list: another one may have been published meanwhile."""
        return parse_targets(draft).signed.version == self.published().targets.signed.version + 1

    def holds(self, line: str, digest: str) -> bool:
        """Whether the published list has the bundle."""
        return target_name(line, digest) in self.published().targets.signed.targets

    def targets_bytes(self) -> bytes:
        """The published list as it was signed."""
        return self.published().targets_bytes

    def signers(self, draft: bytes) -> tuple[list[str], int]:
        """Key ids whose signatures of `draft` are good, and how many are needed."""
        parsed = parse_targets(draft)
        result = self.root().get_verification_result(
            Targets.type, parsed.signed_bytes, parsed.signatures
        )
        return sorted(result.signed), result.threshold

    def add_signature(self, draft: bytes, keyid: str, signature: str) -> bytes:
        """`draft` with one more signature.

        Raises TrustError for a key that may not sign targets, or a signature that is not its own.
        """
        parsed, root = parse_targets(draft), self.root()
        if keyid not in root.roles[Targets.type].keyids:
            raise TrustError(
                f"key {keyid[:12]} may not approve releases",
                expected=f"one of {', '.join(k[:12] for k in root.roles[Targets.type].keyids)}",
                remedy="Sign with the pipeline's or the approver's key.",
            )
        checked = Signature(keyid, signature)
        try:
            root.get_key(keyid).verify_signature(checked, parsed.signed_bytes)
        except UnverifiedSignatureError as error:
            raise TrustError(
                f"the signature by key {keyid[:12]} does not fit what was to be signed",
                remedy="Ask for the metadata again and sign those.",
            ) from error
        parsed.signatures[keyid] = checked
        return parsed.to_bytes()

    def publish(self, draft: bytes) -> int:
        """Publishes a draft that has its signatures; returns the list's version.

        Raises StateError below the threshold, or where another list was published meanwhile.
        """
        have, need = self.signers(draft)
        if len(have) < need:
            raise StateError(
                "the release cannot be published",
                expected=f"signatures of {need} keys",
                found=f"{len(have)}",
                remedy="`loupe release approve` adds one.",
            )
        with self.lock:
            if not self.follows(draft):
                raise StateError(
                    "another release was published meanwhile", remedy="Sign this one again."
                )
            parsed = parse_targets(draft)
            self.publish_targets(parsed)
        return parsed.signed.version

    def as_json(self, draft: bytes) -> dict[str, Any]:
        """`draft` as JSON values: signed part and signatures."""
        return parse_targets(draft).to_dict()
