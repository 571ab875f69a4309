"""Commands that look at data sets: fit to train on, split otherwise, what changed, what is there."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import DataError
from trainer.commands.data import DEFAULT_STORE, JsonOption, StoreOption
from trainer.commands.show import bar
from trainer.config import load_config
from trainer.data.checks.finding import Findings
from trainer.data.diff import Difference, diff
from trainer.data.lineage import split_again
from trainer.data.statistics import describe
from trainer.data.store import Store
from trainer.geometry import choose

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_SHOWN = 20
_FAILED = 2


def validate(
    version: Annotated[str, typer.Argument(help="Digest; the store's latest where left out.")] = "",
    store: StoreOption = DEFAULT_STORE,
    config: Annotated[Path | None, typer.Option(help="The line's TOML file: its [input].")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="A class of defect that must be there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong with a data set; exit code 2 where training would go wrong."""
    from trainer.data import validate as checks  # scipy takes a while to load

    opened = Store(store)
    chosen = opened.version(version) if version else latest(opened)
    schema = checks.any_schema(chosen)
    if config:
        schema = choose(load_config(config).input, chosen, describe(opened, chosen)).schema
    with bar("reading") as tick:
        findings = checks.validate(opened, chosen, schema, classes=classes or (), tick=tick)
    if as_json:
        typer.echo(findings.model_dump_json())
    else:
        show_findings(findings, Console())
    if findings.of("error"):
        raise typer.Exit(_FAILED)


def split(
    version: Annotated[str, typer.Argument(help="Digest of the data set, or its beginning.")],
    store: StoreOption = DEFAULT_STORE,
    holdout: Annotated[float, typer.Option(help="Share of parts kept for measuring.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Decides which parts.")] = 0,
    thaw: Annotated[str, typer.Option(help="Why a frozen holdout is given up.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Choose anew which parts are held out, as a new version."""
    opened = Store(store)
    old = opened.version(version)
    new = split_again(old, opened.find, share=holdout, seed=seed, thaw=thaw)
    opened.put_version(new)
    describe(opened, new)
    if as_json:
        typer.echo(json.dumps(facts(opened, new)))
        return
    show_difference(diff(old, new), Console(stderr=True))
    typer.echo(new.digest())


def compare_versions(
    old: Annotated[str, typer.Argument(help="Digest of the older data set.")],
    new: Annotated[str, typer.Argument(help="Digest of the newer one.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show what changed between two data sets."""
    opened = Store(store)
    difference = diff(opened.version(old), opened.version(new))
    if as_json:
        typer.echo(difference.model_dump_json())
    else:
        show_difference(difference, Console())


def datasets(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the data sets of a store, with their parents and what changed."""
    opened = Store(store)
    found = [facts(opened, opened.version(digest)) for digest in opened.digests()]
    if as_json:
        typer.echo(json.dumps({"datasets": found}))
        return
    for one in found:
        parent = f" from {one['parent'][:12]} ({one['changed']})" if one["parent"] else ""
        typer.echo(
            f"{one['digest']} {one['line']}: {one['images']} images of {one['parts']} parts, "
            f"{one['holdout']} held out; {one['reason']}{parent}"
        )


def facts(store: Store, version: DatasetVersion) -> dict[str, Any]:
    """What a list shows of a version; `changed` is against its parent, where that is at hand."""
    parent = store.find(version.parent) if version.parent else None
    return {
        "digest": version.digest(),
        "line": version.line,
        "images": len(version.items),
        "parts": len({item.group for item in version.items}),
        "holdout": len(version.side("holdout")),
        "labels": _labels(version),
        "channels": version.channels,
        "depth": version.depth,
        "reason": version.reason,
        "parent": version.parent,
        "changed": diff(parent, version).summary() if parent else "",
        "thawed": version.thawed,
    }


def _labels(version: DatasetVersion) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for item in version.items:
        counts.setdefault(item.label, {"train": 0, "holdout": 0})[item.split] += 1
    return counts


def latest(store: Store) -> DatasetVersion:
    """The one version that is no other's parent. Raises DataError where there are more, or none."""
    versions = {digest: store.version(digest) for digest in store.digests()}
    last = sorted(set(versions) - {version.parent for version in versions.values()})
    if len(last) == 1:
        return versions[last[0]]
    raise DataError(
        f"{store.folder} has {'several data sets' if last else 'no data set'}",
        expected="the digest of one",
        found=", ".join(f"{name[:12]} ({versions[name].line})" for name in last[:8]) or "none",
        remedy="`loupe-trainer datasets` lists them." if last else "Import one first.",
    )


def show_findings(findings: Findings, console: Console) -> None:
    """The findings as a table; one line where there are none."""
    title = f"{findings.line}: {findings.images} images of {findings.parts} parts"
    if not findings.findings:
        console.print(f"{title}: nothing is wrong")
        return
    table = Table(title=title, show_lines=True, show_header=False)
    for one in findings.findings:
        more = [f"and {one.count - len(one.files)} more"] if one.count > len(one.files) else []
        lines = [f"[bold]{escape(one.what)}[/]", *(f"  {escape(name)}" for name in one.files)]
        lines += [f"  {text}" for text in more] + [escape(one.remedy)]
        table.add_row(f"[{_COLOURS[one.severity]}]{one.severity}[/]", "\n".join(lines))
    console.print(table)


def show_difference(difference: Difference, console: Console) -> None:
    """What changed as a table, the first twenty of each kind."""
    table = Table(title=f"{difference.old[:12]} to {difference.new[:12]}: {difference.summary()}")
    for column in ("", "image", "part", "label", "side", "before", "after"):
        table.add_column(column, overflow="fold")
    kinds = {"added": difference.added, "removed": difference.removed, **difference.changed}
    for kind, changes in kinds.items():
        for one in changes[:_SHOWN]:
            cells = (one.image, one.part, one.label, one.split, one.before, one.after)
            table.add_row(kind, *(escape(cell) for cell in cells))
        if len(changes) > _SHOWN:
            table.add_row(kind, f"and {len(changes) - _SHOWN} more")
    console.print(table)
    if difference.moved_parts:
        console.print(f"parts that changed sides: {escape(', '.join(difference.moved_parts))}")
