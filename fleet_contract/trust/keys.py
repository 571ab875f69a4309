"""Keys that sign TUF metadata: Ed25519 in PEM files, encrypted by a passphrase where they lie offline.

Everything that signs takes securesystemslib's `Signer`; a key in a file is one implementation of it,
a hardware token would be another.
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from fleet_contract.errors import ConfigError

ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def is_encrypted(key_pem: bytes) -> bool:
    """Whether a key in PEM asks for a passphrase."""
    return key_pem.lstrip().startswith(ENCRYPTED)


def generate_key(passphrase: bytes | None = None) -> bytes:
    """A new Ed25519 key: PEM, PKCS8, encrypted where there is a passphrase."""
    return _pem(Ed25519PrivateKey.generate(), passphrase)


def load_signer(key_pem: bytes, passphrase: bytes | None = None) -> CryptoSigner:
    """The signer of an Ed25519 key in PEM; `passphrase` is for encrypted ones alone.

    Raises ConfigError for anything else, a wrong passphrase included.
    """
    return CryptoSigner(_load(key_pem, passphrase))


def with_passphrase(key_pem: bytes, old: bytes | None, new: bytes) -> bytes:
    """The same key, encrypted by `new`. Raises as `load_signer`."""
    return _pem(_load(key_pem, old), new)


def public_pem(key_pem: bytes, passphrase: bytes | None = None) -> bytes:
    """The public half, in PEM: what may be shown to anybody. Raises as `load_signer`."""
    public = _load(key_pem, passphrase).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_public(pem: bytes) -> Key:
    """A public key in PEM, as TUF's root names it. Raises ConfigError for anything but Ed25519."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            "the public key cannot be read",
            expected="an Ed25519 public key in PEM, such as `loupe-server keys new` writes",
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("the public key is of another kind", expected="Ed25519")
    return SSlibKey.from_crypto(key)


def _load(key_pem: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    encrypted = is_encrypted(key_pem)
    if encrypted and passphrase is None:
        raise ConfigError(
            "the signing key is encrypted", remedy="Give its passphrase: --passphrase-file."
        )
    try:
        key = load_pem_private_key(key_pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            "the signing key cannot be read"
            + (": the passphrase is wrong, or the file is damaged" if encrypted else ""),
            expected="an Ed25519 key in PEM (PKCS8)",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("the signing key is of another kind", expected="Ed25519")
    return key


def _pem(key: Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = (
        NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
