"""Changing keys: the next roots are drafted on the server, signed where the keys lie, checked. No IO.

A change is one file that is carried to the offline keys and back. It holds what was before and what
is to be: either root, and the image repository's list of targets where its keys change, as a list
that a stolen key signed must not stand any longer. A next root needs the signatures of the root before
(its threshold) and its own (TUF 5.3.4), so that devices follow from root to root.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fleet_contract.errors import ConfigError, StateError, TrustError
from fleet_contract.trust.custom import DIRECTOR, IMAGE

_OFFLINE = (Root.type, Targets.type)
_ONLINE = (Timestamp.type, Snapshot.type)
M = TypeVar("M", Root, Targets)


@dataclass(slots=True)
class KeyChange:
    """Roots by repository, before and after; a repository whose root stays is not in `after`."""

    before: dict[str, Metadata[Root]]
    after: dict[str, Metadata[Root]]
    targets_before: Metadata[Targets]
    targets_after: Metadata[Targets] | None = None

    def to_bytes(self) -> bytes:
        """The file."""
        content = {
            "v": 1,
            "before": {name: root.to_dict() for name, root in self.before.items()},
            "after": {name: root.to_dict() for name, root in self.after.items()},
            "targets_before": self.targets_before.to_dict(),
            "targets_after": self.targets_after.to_dict() if self.targets_after else None,
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "KeyChange":
        """Raises ConfigError for what is no such file."""
        try:
            content = json.loads(data)
            after = content["targets_after"]
            return cls(
                {name: _parsed(Root, one) for name, one in content["before"].items()},
                {name: _parsed(Root, one) for name, one in content["after"].items()},
                _parsed(Targets, content["targets_before"]),
                _parsed(Targets, after) if after else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RepositoryError) as error:
            raise ConfigError(
                "the file holds no change of keys",
                expected="what `loupe-server keys draft` wrote",
                found=str(error),
            ) from error

    def image_root(self) -> Root:
        """The image repository's root as it will be."""
        return self.after.get(IMAGE, self.before[IMAGE]).signed

    def online_changes(self, repository: str) -> bool:
        """Whether the server's own key of `repository` is replaced."""
        after = self.after.get(repository)
        return after is not None and _online(after.signed) != _online(
            self.before[repository].signed
        )


def _parsed(kind: type[M], content: dict[str, Any]) -> Metadata[M]:
    parsed = Metadata[M].from_dict(content)
    if not isinstance(parsed.signed, kind):
        raise ValueError(f"{parsed.signed.type} where {kind.type} was expected")
    return parsed


def _online(root: Root) -> list[str]:
    return sorted(root.roles[Timestamp.type].keyids)


def draft(
    image: bytes,
    director: bytes,
    targets: bytes,
    *,
    replace: Mapping[str, Key],
    online: Mapping[str, Key],
    root_expires: datetime,
    targets_expires: datetime,
) -> KeyChange:
    """The next roots over the current ones, unsigned.

    `replace`: beginning of an offline key's id -> its successor. `online`: repository -> the server's
    next key of it. With neither, the same keys get metadata that expire later. Raises TrustError for
    a key that is not there, or stands in for two.
    """
    before = {
        IMAGE: Metadata[Root].from_bytes(image),
        DIRECTOR: Metadata[Root].from_bytes(director),
    }
    renewal = not replace and not online
    after = {}
    found: set[str] = set()
    for name, now in before.items():
        root = copy.deepcopy(now.signed)
        found |= _replace(root, replace)
        if name in online:
            _replace_online(root, online[name])
        if renewal or root != now.signed:
            root.version += 1
            root.expires = root_expires
            after[name] = Metadata(root)
    for prefix in replace:
        if prefix not in found:
            raise TrustError(
                f"no offline key has an id that begins with {prefix!r}",
                remedy="`loupe-server keys show` lists them; online keys change by --online.",
            )
    change = KeyChange(before, after, Metadata[Targets].from_bytes(targets))
    roles = change.image_root().roles[Targets.type].keyids
    if renewal or roles != before[IMAGE].signed.roles[Targets.type].keyids:
        signed = copy.deepcopy(change.targets_before.signed)
        signed.version += 1
        signed.expires = targets_expires
        change.targets_after = Metadata(signed)
    return change


def _replace(root: Root, replace: Mapping[str, Key]) -> set[str]:
    found, online = set(), _online(root)
    for prefix, new in replace.items():
        olds = {
            (role, keyid)
            for role in _OFFLINE
            for keyid in root.roles[role].keyids
            if keyid.startswith(prefix) and keyid not in online
        }
        if len({keyid for _, keyid in olds}) > 1:
            raise TrustError(f"two keys have ids that begin with {prefix!r}", remedy="Give more.")
        if olds and new.keyid in root.keys:
            raise TrustError(
                f"key {new.keyid[:12]} has a role already",
                remedy="Each takes a key of its own: make one with `loupe-server keys new`.",
            )
        for role, keyid in olds:
            # In the place of the old one, or the order of keys would change with every look.
            root.revoke_key(keyid, role)
            root.add_key(new, role)
            found.add(prefix)
    return found


def _replace_online(root: Root, new: Key) -> None:
    for old in _online(root):
        for role in (*_ONLINE, Targets.type):
            if old in root.roles[role].keyids:
                root.revoke_key(old, role)
                root.add_key(new, role)


def check(change: KeyChange) -> None:
    """Raises TrustError where a change does more than change keys and move expiry."""
    for name, after in change.after.items():
        before = change.before[name].signed
        if after.signed.version != before.version + 1:
            raise TrustError(f"the {name} root does not follow the one before by one version")
        thresholds = {role: (r.threshold, len(r.keyids)) for role, r in before.roles.items()}
        if thresholds != {r: (x.threshold, len(x.keyids)) for r, x in after.signed.roles.items()}:
            raise TrustError(
                f"the {name} root changes how many keys sign", remedy="Nothing was signed."
            )
    if change.targets_after is None:
        return
    was, will = (m.signed.to_dict() for m in (change.targets_before, change.targets_after))
    if will["version"] != was["version"] + 1:
        raise TrustError("the list of targets does not follow the published one")
    for changing in ("version", "expires"):
        del was[changing], will[changing]
    if was != will:
        raise TrustError("the list of targets changes bundles", remedy="Nothing was signed.")


def sign(change: KeyChange, signer: Signer) -> list[str]:
    """Signs all that this key has a say in, and says what. Raises TrustError where that is nothing."""
    check(change)
    keyid, signed = signer.public_key.keyid, []
    for name, after in change.after.items():
        roots = (change.before[name].signed, after.signed)
        if any(keyid in root.roles[Root.type].keyids for root in roots):
            after.sign(signer, append=True)
            signed.append(f"{name} root")
    if change.targets_after and keyid in change.image_root().roles[Targets.type].keyids:
        change.targets_after.sign(signer, append=True)
        signed.append("image targets")
    if not signed:
        raise TrustError(
            f"key {keyid[:12]} has nothing to sign here",
            expected="a root key of before or after, or a release key of after",
        )
    return signed


def missing(change: KeyChange) -> list[str]:
    """Which signatures are not there yet, in words; empty when the change is complete."""
    return [
        f"{what}: {have} of {need} signatures"
        for what, have, need in _signatures(change)
        if have < need
    ]


def _signatures(change: KeyChange) -> Iterator[tuple[str, int, int]]:
    for name, after in change.after.items():
        for when, root in (("before", change.before[name].signed), ("after", after.signed)):
            result = root.get_verification_result(Root.type, after.signed_bytes, after.signatures)
            yield f"{name} root by the root keys of {when}", len(result.signed), result.threshold
    if change.targets_after:
        targets = change.targets_after
        result = change.image_root().get_verification_result(
            Targets.type, targets.signed_bytes, targets.signatures
        )
        yield "image targets by the release keys of after", len(result.signed), result.threshold


def check_complete(change: KeyChange) -> None:
    """Raises TrustError as `check` does, StateError while signatures are missing."""
    check(change)
    if lacks := missing(change):
        raise StateError(
            "the change of keys is not signed by enough keys",
            found="; ".join(lacks),
            remedy="`loupe-server keys sign` adds them.",
        )


def describe(change: KeyChange) -> list[tuple[str, str]]:
    """What a signature would bring about: field and value, for a person."""
    shown = []
    for name, after in change.after.items():
        before = change.before[name].signed
        shown.append(
            (f"{name} root", f"version {after.signed.version}, until {_day(after.signed)}")
        )
        for role, now in after.signed.roles.items():
            old, new = (set(root.roles[role].keyids) for root in (before, after.signed))
            if old != new:
                gone, come = (", ".join(sorted(k[:12] for k in s)) for s in (old - new, new - old))
                of = f"{now.threshold} of {len(now.keyids)}"
                shown.append((f"{name} {role} ({of})", f"{gone} is replaced by {come}"))
    if change.targets_after:
        targets = change.targets_after.signed
        text = f"version {targets.version}, the same bundles, until {_day(targets)}"
        shown.append(("image targets", text))
    return shown


def _day(signed: Root | Targets) -> str:
    return signed.expires.date().isoformat()
