"""Changing keys on the server: what is drafted over, and how a signed change is brought in.

The server must not run meanwhile: it holds its online keys in memory. Killed at any instant,
`publish` does the rest when it is called again; until then the server refuses to start.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from fleet_contract.archive import sync_directory
from fleet_contract.clock import Clock, SystemClock
from fleet_contract.errors import StateError
from fleet_contract.trust.custom import DIRECTOR, IMAGE
from fleet_contract.trust.keys import generate_key
from fleet_server.trust.files import read_key, write_atomic
from fleet_server.trust.repository import Lifetimes, newest_root
from fleet_server.trust.rotation import KeyChange, check_complete, draft
from fleet_server.trust.setup import TrustRepositories, online_key, open_repositories


def draft_change(
    folder: Path,
    *,
    replace: Mapping[str, Key],
    online: Iterable[str],
    clock: Clock | None = None,
    lifetimes: Lifetimes | None = None,
) -> KeyChange:
    """A change over the server's `folder`, as `rotation.draft`; makes the next keys of `online`.

    An earlier draft that was to replace the same online key cannot be published any more.
    """
    lifetimes = lifetimes or Lifetimes()
    image = open_repositories(folder, clock=clock, lifetimes=lifetimes).image
    return draft(
        newest_root(folder / "trust" / IMAGE),
        newest_root(folder / "trust" / DIRECTOR),
        image.targets_bytes(),
        replace=replace,
        online={name: _next_online(folder, name) for name in online},
        root_expires=image.expires(lifetimes.root_s),
        targets_expires=image.expires(lifetimes.offline_targets_s),
    )


def _next_path(folder: Path, repository: str) -> Path:
    return online_key(folder, repository).with_suffix(".next.pem")


def _next_online(folder: Path, repository: str) -> Key:
    path = _next_path(folder, repository)
    write_atomic(path, generate_key(), mode=0o600)
    return read_key(path).public_key


def publish(
    folder: Path,
    change: KeyChange,
    *,
    clock: Clock | None = None,
    lifetimes: Lifetimes | None = None,
) -> None:
    """Brings a signed change in: roots, online keys, then all that they sign, anew.

    Raises StateError for a change that lacks signatures, or was drafted over another state.
    """
    clock, lifetimes = clock or SystemClock(), lifetimes or Lifetimes()
    check_complete(change)
    image = open_repositories(folder, clock=clock, lifetimes=lifetimes).image
    _check_state(folder, change, image.published().targets)
    for name, root in change.after.items():
        write_atomic(folder / "trust" / name / f"{root.signed.version}.root.json", root.to_bytes())
    replaced = [name for name in change.after if change.online_changes(name)]
    following = {name: _next_path(folder, name) for name in replaced}
    keys = {name: path for name, path in following.items() if path.exists()}
    _sign_again(change, open_repositories(folder, clock=clock, lifetimes=lifetimes, keys=keys))
    for name, path in keys.items():
        # Last, as the server does not start while its key and the newest root disagree.
        path.replace(online_key(folder, name))
        sync_directory(path.parent)


def _check_state(folder: Path, change: KeyChange, published: Metadata[Targets]) -> None:
    """Before the first write, that the last one will not fail."""
    for name, root in change.before.items():
        now = Metadata[Root].from_bytes(newest_root(folder / "trust" / name)).signed
        if now not in (root.signed, change.after.get(name, root).signed):
            raise _overtaken(f"the {name} repository has another root")
        if change.online_changes(name):
            _check_next(folder, name, change.after[name].signed)
    after = change.targets_after
    if after and published.signed not in (change.targets_before.signed, after.signed):
        raise _overtaken("another release was published")


def _overtaken(what: str) -> StateError:
    return StateError(f"{what} than when the change was drafted", remedy="Draft and sign it again.")


def _check_next(folder: Path, repository: str, root: Root) -> None:
    paths = (_next_path(folder, repository), online_key(folder, repository))
    keys = [read_key(path).public_key.keyid for path in paths if path.exists()]
    if not set(keys) & set(root.roles[Timestamp.type].keyids):
        raise _overtaken(f"the server has another next key for the {repository} repository")


def _sign_again(change: KeyChange, opened: TrustRepositories) -> None:
    opened.check()
    after = change.targets_after
    if after and opened.image.published().targets.signed.version < after.signed.version:
        opened.image.publish_targets(after)
    elif change.online_changes(IMAGE):
        opened.image.sign_again()
    if change.online_changes(DIRECTOR):
        for device in opened.director.devices():
            opened.director.sign_again(device)
