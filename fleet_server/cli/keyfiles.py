"""Key files and their passphrases, as both command lines read them."""

from pathlib import Path
from typing import Annotated

import typer
from securesystemslib.signer import CryptoSigner

from fleet_contract.errors import ConfigError
from fleet_contract.trust.keys import is_encrypted, load_signer

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="File whose first line is the key's passphrase; asked for without it."),
]


def read_file(path: Path) -> bytes:
    """The bytes of `path`. Raises ConfigError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", found=error.strerror or str(error)) from error


def passphrase_in(path: Path) -> bytes:
    """The first line of `path`. Raises ConfigError where there is none."""
    line = next(iter(read_file(path).splitlines()), b"")
    if not line:
        raise ConfigError(f"{path} holds no passphrase", expected="one in its first line")
    return line


def passphrase_of(path: Path, key_pem: bytes, given: Path | None) -> bytes | None:
    """What opens the key in `path`: None where it is not encrypted, else from the file or a person."""
    if not is_encrypted(key_pem):
        return None
    if given:
        return passphrase_in(given)
    asked: str = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True)
    return asked.encode()


def open_key(path: Path, given: Path | None) -> CryptoSigner:
    """The signer of the key in `path`. Raises ConfigError for one that cannot be opened."""
    key_pem = read_file(path)
    return load_signer(key_pem, passphrase_of(path, key_pem, given))
