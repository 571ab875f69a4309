"""`loupe-server keys`: look at keys, make them, and replace them by a change that is signed offline."""

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer
from tuf.api.metadata import Metadata, Root

from fleet_contract.clock import SystemClock
from fleet_contract.errors import ConfigError, ResourceError, StateError
from fleet_contract.trust.custom import DIRECTOR, IMAGE
from fleet_contract.trust.keys import (
    generate_key,
    load_public,
    load_signer,
    public_pem,
    with_passphrase,
)
from fleet_server.audit.service import record
from fleet_server.cli.keyfiles import (
    PassphraseFile,
    open_key,
    passphrase_in,
    passphrase_of,
    read_file,
)
from fleet_server.cli.output import say, show_fields, show_json, show_table
from fleet_server.config import ServerConfig, read_config
from fleet_server.db.engine import Database
from fleet_server.db.migrate import upgrade
from fleet_server.serving import listen
from fleet_server.trust import keys
from fleet_server.trust.files import write_atomic
from fleet_server.trust.repository import newest_root
from fleet_server.trust.rotation import KeyChange, describe, missing, sign

app = typer.Typer(no_args_is_help=True, help="Keys of the trust repositories.")

Folder = Annotated[Path, typer.Option("--dir", "--server", help="The server's folder.")]
ChangeFile = Annotated[Path, typer.Argument(metavar="CHANGE", help="What `keys draft` wrote.")]
KeyFile = Annotated[Path, typer.Argument(metavar="KEY", help="A private key in PEM.")]
NewPassphrase = Annotated[
    Path | None,
    typer.Option(help="File whose first line is the new passphrase; asked for without it."),
]


@app.command()
def show(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Who signs what: roles, their keys, and until when the roots stand."""
    config = read_config(folder)
    rows = [row for name in (IMAGE, DIRECTOR) for row in _roles(config.folder, name)]
    if as_json:
        show_json(rows)
        return
    show_table("Keys", rows, {name: itemgetter(name) for name in rows[0]})


def _roles(folder: Path, repository: str) -> Iterator[dict[str, Any]]:
    root = Metadata[Root].from_bytes(newest_root(folder / "trust" / repository)).signed
    for role, named in root.roles.items():
        yield {
            "repository": repository,
            "role": role,
            "threshold": f"{named.threshold} of {len(named.keyids)}",
            "keys": " ".join(keyid[:12] for keyid in named.keyids),
            "root version": str(root.version),
            "root expires": root.expires.date().isoformat(),
        }


@app.command()
def new(file: KeyFile, new_passphrase_file: NewPassphrase = None) -> None:
    """Make a key, encrypted, and its public half beside it (.pub)."""
    public = file.with_suffix(".pub")
    for path in (file, public):
        if path.exists():
            raise StateError(f"{path} is there already", remedy="Choose another name.")
    passphrase = _new_passphrase(file, new_passphrase_file)
    key_pem = generate_key(passphrase)
    _write(file, key_pem, 0o600)
    _write(public, public_pem(key_pem, passphrase), 0o644)
    keyid = load_signer(key_pem, passphrase).public_key.keyid
    say(f"Made key {keyid[:12]}: {file}, and {public} for `loupe-server keys draft`.")


@app.command()
def passphrase(
    file: KeyFile, passphrase_file: PassphraseFile = None, new_passphrase_file: NewPassphrase = None
) -> None:
    """Encrypt a key, or change its passphrase."""
    key_pem = read_file(file)
    old = passphrase_of(file, key_pem, passphrase_file)
    _write(file, with_passphrase(key_pem, old, _new_passphrase(file, new_passphrase_file)), 0o600)
    say(f"{file} is encrypted by the new passphrase.")


def _new_passphrase(path: Path, given: Path | None) -> bytes:
    if given:
        return passphrase_in(given)
    text = f"New passphrase of {path}"
    asked: str = typer.prompt(text, hide_input=True, confirmation_prompt=True, err=True)
    return asked.encode()


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        write_atomic(path, data, mode)
    except OSError as error:
        raise ResourceError(f"{path} cannot be written", found=str(error)) from error


@app.command()
def draft(
    change: ChangeFile,
    folder: Folder,
    replace: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=NEW.pub", help="An offline key's id, and its successor."),
    ] = None,
    online: Annotated[
        list[str] | None,
        typer.Option(metavar="image|director", help="Replace the server's own key of it."),
    ] = None,
) -> None:
    """Draft the next roots on the server; with no key named, the same ones for longer."""
    config, names = read_config(folder), set(online or [])
    if unknown := names - {IMAGE, DIRECTOR}:
        raise ConfigError("--online names no repository", expected=f"{IMAGE} or {DIRECTOR}",
                          found=", ".join(sorted(unknown)))  # fmt: skip
    drafted = keys.draft_change(config.folder, replace=_successors(replace or []), online=names)
    _write(change, drafted.to_bytes(), 0o644)
    show_fields(describe(drafted))
    say(f"Wrote {change}; `loupe-server keys sign` signs it where the keys lie:")
    say("\n".join(f"  {line}" for line in missing(drafted)))


def _successors(replace: list[str]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in replace]
    for keyid, _, path in pairs:
        if len(keyid) < 6 or not path:
            raise ConfigError(
                "--replace does not say which key by which", expected="ID=NEW.pub, ID of six digits"
            )
    return {keyid: load_public(read_file(Path(path))) for keyid, _, path in pairs}


@app.command("sign")
def sign_change(
    change: ChangeFile,
    key: Annotated[Path, typer.Option(help="A root key, or a release key of after.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Look at a change of keys, and sign it; needs no server."""
    drafted = KeyChange.from_bytes(read_file(change))
    show_fields(describe(drafted))
    signed = sign(drafted, open_key(key, passphrase_file))
    _write(change, drafted.to_bytes(), 0o644)
    lacks = missing(drafted)
    say(f"Signed {', '.join(signed)}. " + (f"Missing: {'; '.join(lacks)}." if lacks else "Whole."))


@app.command()
def publish(change: ChangeFile, folder: Folder) -> None:
    """Bring a signed change in, while the server does not run."""
    config, drafted = read_config(folder), KeyChange.from_bytes(read_file(change))
    with _server_stopped(config):
        keys.publish(config.folder, drafted)
        database = Database(config.database_url)
        upgrade(database)
        with database.write() as session:
            data = dict(describe(drafted))
            record(session, SystemClock().time(), "operator", "keys.publish", "trust", data)
        database.close()
    say("The new keys stand. Start the server; devices follow at their next look.")


@contextmanager
def _server_stopped(config: ServerConfig) -> Iterator[None]:
    """Holds the server's port, so that it neither runs nor starts. Raises ResourceError."""
    listener = listen(config.http.host, config.http.port)
    try:
        yield
    finally:
        listener.close()
