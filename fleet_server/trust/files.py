"""Files that are there whole or not at all, and private keys that only their owner reads."""

import os
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from fleet_contract.archive import sync_directory
from fleet_contract.errors import ResourceError
from fleet_contract.trust.keys import generate_key, load_signer


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes `path` as a whole; durable when this returns, and never half written."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_directory(path.parent)


def ensure_key(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """The Ed25519 key in `path`; made there (mode 0600) where there is none, never overwritten.

    With a passphrase a new key is encrypted, and an encrypted one is opened.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, generate_key(passphrase), mode=0o600)
    return read_key(path, passphrase)


def read_key(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """The Ed25519 key in `path`. Raises ResourceError where it cannot be read."""
    try:
        return load_signer(path.read_bytes(), passphrase)
    except OSError as error:
        raise ResourceError(
            f"key {path} cannot be read: {error.strerror}",
            remedy="`loupe-server init` makes the server's keys; restore it from your backup.",
        ) from error
