"""`loupe release`: submit, sign, look at releases. Keys are read here and never leave this process."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from securesystemslib.signer import Signer

from fleet_contract.errors import ConfigError
from fleet_contract.trust.approve import Review, review, sign_release, signed_by
from fleet_server.cli.client import ApiClient, client
from fleet_server.cli.keyfiles import PassphraseFile, open_key, read_file
from fleet_server.cli.output import moment, short, show_fields, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Bundles and their approvals.")

KeyFile = Annotated[Path, typer.Option(help="Ed25519 key in PEM, such as offline/pipeline.pem.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Digest = Annotated[str, typer.Argument(help="The release's digest, or its first characters.")]


@app.command()
def submit(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="The bundle's archive.")],
    key: KeyFile,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Send a bundle to the server and sign it with the pipeline's key."""
    api, signer = client(ctx), open_key(key, passphrase_file)
    answer = api.send("POST", "/releases", read_file(file), by=api.by)
    result = _sign(api, answer["digest"], signer, quiet=as_json)
    _told({"digest": answer["digest"], "line": answer["line"], **result}, as_json)


@app.command()
def approve(
    ctx: typer.Context,
    digest: Digest,
    key: KeyFile,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Look at what a release changes, and sign it."""
    result = _sign(client(ctx), digest, open_key(key, passphrase_file), quiet=as_json)
    _told({"digest": digest, **result}, as_json)


def _sign(api: ApiClient, digest: str, signer: Signer, *, quiet: bool) -> dict[str, Any]:
    offered = api.get(f"/releases/{digest}/to-sign")
    metadata = json.dumps(offered["metadata"]).encode()
    previous = json.dumps(offered["previous"]).encode()
    target = offered["target"]
    if not quiet:
        _show_review(review(metadata, target=target, previous=previous), offered)
    if signed_by(metadata, signer.public_key):
        raise ConfigError(
            "this key has signed the release already",
            remedy="Approval takes a second key, held by another person.",
        )
    keyid, signature = sign_release(metadata, target=target, signer=signer, previous=previous)
    body = {"keyid": keyid, "sig": signature}
    answer: dict[str, Any] = api.post(f"/releases/{offered['digest']}/signatures", body, by=api.by)
    return answer


def _show_review(shown: Review, offered: dict[str, Any]) -> None:
    described = offered["describe"]
    show_fields(
        [
            ("signs", f"version {shown.version} of the image targets, which adds only"),
            ("bundle", shown.sha256),
            ("line", shown.custom.line),
            ("epoch", shown.custom.epoch),
            ("hardware", ", ".join(shown.custom.hardware)),
            ("archive", f"{shown.length} bytes"),
            ("threshold", described.get("threshold")),
            ("models", ", ".join(described.get("runtimes", []) + described.get("precisions", []))),
            ("signatures so far", f"{offered['signatures']} of {offered['threshold']}"),
        ]
    )


def _told(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(result)
        return
    Console(soft_wrap=True, highlight=False).print(
        f"Release {short(result['digest'])} is signed by {result['signatures']} of "
        f"{result['threshold']} keys: {result['state'].replace('_', ' ')}."
    )


@app.command("list")
def list_releases(
    ctx: typer.Context,
    line: Annotated[str | None, typer.Option(help="Only this line's.")] = None,
    as_json: Json = False,
) -> None:
    """Releases, the latest first."""
    rows = client(ctx).get("/releases", line=line)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Releases",
        rows,
        {
            "digest": lambda row: short(row["digest"]),
            "line": lambda row: row["line"],
            "state": lambda row: row["state"],
            "signatures": lambda row: f"{len(row['signed_by'])} of {row['threshold']}",
            "epoch": lambda row: str(row["epoch"]),
            "submitted": lambda row: moment(row["created_at"]),
        },
    )


@app.command()
def show(ctx: typer.Context, digest: Digest, as_json: Json = False) -> None:
    """One release."""
    row = client(ctx).get(f"/releases/{digest}")
    if as_json:
        show_json(row)
        return
    show_fields(
        [
            ("digest", row["digest"]),
            ("line", row["line"]),
            ("state", row["state"]),
            ("signed by", ", ".join(map(short, row["signed_by"])) or "nobody"),
            ("epoch", row["epoch"]),
            ("hardware", ", ".join(row["hardware"])),
            ("archive", f"{row['length']} bytes"),
            *((f"sent as {one['kind']}", f"{one['length']} bytes") for one in row["encodings"]),
            ("dataset", short(row["lineage"].get("dataset"))),
            ("training run", row["run"] or "-"),
            ("submitted", f"{moment(row['created_at'])} by {row['created_by']}"),
            ("approved", moment(row["approved_at"])),
            *([("refused", row["refused_reason"])] if row["refused_by"] else []),
        ]
    )


@app.command()
def refuse(
    ctx: typer.Context,
    digest: Digest,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
) -> None:
    """Say no to a release for good."""
    api = client(ctx)
    row = api.post(f"/releases/{digest}/refuse", {"reason": reason}, by=api.by)
    Console(soft_wrap=True).print(f"Release {short(row['digest'])} is refused.")
