"""Lines, labels and datasets, from the command line."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from fleet_contract.dataset import DatasetVersion, parse_version
from fleet_contract.errors import ConfigError, DataError
from fleet_server.cli.client import ApiClient, client
from fleet_server.cli.fleet import Json
from fleet_server.cli.output import moment, say, short, show_fields, show_json, show_table

line_app = typer.Typer(no_args_is_help=True, help="Inspection tasks.")
label_app = typer.Typer(no_args_is_help=True, help="Samples and their labels.")
dataset_app = typer.Typer(no_args_is_help=True, help="Dataset versions.")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read", found=str(error)) from error


@line_app.command("add")
def add_line(
    context: typer.Context,
    name: str,
    config: Annotated[Path, typer.Option(help="Training configuration, TOML.")],
    policy: Annotated[Path | None, typer.Option(help="What rules may do, JSON.")] = None,
    epoch: int = 1,
) -> None:
    """Add a line, or change its configuration."""
    api = client(context)
    try:
        rules = json.loads(_read(policy)) if policy else {}
    except json.JSONDecodeError as error:
        raise ConfigError(f"{policy} is not JSON", found=str(error)) from error
    body = {"training_config": _read(config), "policy": rules, "epoch": epoch, "by": api.by}
    api.put(f"/lines/{name}", body)
    say(f"Line {name} is configured.")


@line_app.command("list")
def lines(context: typer.Context, as_json: Json = False) -> None:
    """All lines."""
    rows = client(context).get("/lines")
    if as_json:
        show_json(rows)
        return
    show_table(
        "Lines",
        rows,
        {
            "name": lambda x: x["name"],
            "champion": lambda x: short(x["champion"]),
            "dataset": lambda x: short(x["dataset"]),
            "epoch": lambda x: str(x["epoch"]),
            "retrains on": lambda x: ", ".join(x["policy"].get("retrain_on", [])),
        },
    )


@label_app.command("list")
def samples(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="unlabelled or labelled")] = "unlabelled",
    line: str | None = None,
    why: str | None = None,
    incident: int | None = None,
    limit: int = 50,
    as_json: Json = False,
) -> None:
    """Samples that wait for a label, the oldest first."""
    rows = client(context).get(
        "/samples", state=state, line=line, why=why, incident=incident, limit=limit
    )
    if as_json:
        show_json(rows)
        return
    show_table(
        "Samples",
        rows,
        {
            "sample": lambda s: s["sample_id"],
            "device": lambda s: s["device"],
            "part": lambda s: str(s["part"]),
            "why": lambda s: s["why"],
            "verdict": lambda s: s["verdict"],
            "label": lambda s: s["label"] or "-",
        },
    )


@label_app.command("set")
def label(context: typer.Context, sample: str, label: str) -> None:
    """Label a sample: good, defect, or a kind of defect."""
    api = client(context)
    api.post(f"/samples/{sample}/label", {"label": label, "by": api.by})
    say(f"{sample}: {label}")


@dataset_app.command("list")
def datasets(context: typer.Context, line: str | None = None, as_json: Json = False) -> None:
    """Versions, the oldest first."""
    rows = client(context).get("/datasets", line=line)
    if as_json:
        show_json(rows)
        return
    show_table(
        "Datasets",
        rows,
        {
            "digest": lambda d: short(d["digest"]),
            "line": lambda d: d["line"],
            "parent": lambda d: short(d["parent"]),
            "train": lambda d: str(d["train"]),
            "holdout": lambda d: str(d["holdout"]),
            "made": lambda d: moment(d["created_at"]),
            "reason": lambda d: d["reason"],
        },
    )


@dataset_app.command("show")
def dataset(context: typer.Context, digest: str, as_json: Json = False) -> None:
    """What a version holds, counted when it was made; `digest` may be its beginning."""
    found = [row for row in client(context).get("/datasets") if row["digest"].startswith(digest)]
    if len(found) != 1:
        raise DataError(f"{len(found)} dataset versions begin with {digest!r}", expected="exactly one",
                        remedy="`loupe dataset list` shows them.")  # fmt: skip
    if as_json:
        show_json(found[0])
        return
    names = ("digest", "line", "parent", "reason", "train", "holdout")
    show_fields([*((name, found[0][name]) for name in names), *_counted(found[0]["counts"])])


def _counted(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """Training and holdout images by class and slice."""
    groups = {"class": counts.get("labels", {}), **counts.get("slices", {})}
    return [
        (f"{group} {value}", f"{sides['train']} train, {sides['holdout']} holdout")
        for group, values in groups.items()
        for value, sides in values.items()
    ]


@dataset_app.command("push")
def push(
    context: typer.Context,
    store: Annotated[Path, typer.Argument(help="The trainer's store: objects/ and versions/.")],
    digest: Annotated[str, typer.Argument(help="Digest of the version, or its beginning.")],
    current: Annotated[bool, typer.Option(help="Make it its line's version.")] = True,
) -> None:
    """Send a version and its files from a trainer's store; what is there already is not sent."""
    api = client(context)
    version = _find_version(store, digest)
    names = {item.sha256 for item in version.items}
    names |= {item.mask for item in version.items if item.mask}
    sent = _send(api, store / "objects", sorted(names))
    body = json.loads(version.canonical())
    answer = api.post("/datasets", body, by=api.by, current=current)
    say(f"Dataset {answer['digest']}: {len(version.items)} images, {sent} files sent.")


def _find_version(store: Path, digest: str) -> DatasetVersion:
    known = (store / "versions").glob(f"{digest}*.json") if digest.isalnum() else ()
    # Beside a version lie its statistics, `<digest>.stats.json`.
    found = sorted(path for path in known if path.stem.isalnum())
    if len(found) != 1:
        raise DataError(
            f"{len(found)} dataset versions in {store} begin with {digest!r}",
            expected="exactly one",
            remedy="`loupe-trainer import` prints a version's digest.",
        )
    return parse_version(_read(found[0]))


def _send(api: ApiClient, objects: Path, names: list[str]) -> int:
    sent = 0
    with Progress(transient=True) as progress:
        for name in progress.track(names, description="Sending files"):
            if api.has(f"/blobs/{name}"):
                continue
            path = objects / name
            if not path.is_file():
                raise DataError(f"{path} is missing", remedy="Import the images again.")
            api.send("PUT", f"/blobs/{name}", path.read_bytes())
            sent += 1
    return sent
