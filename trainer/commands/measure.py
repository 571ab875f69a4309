"""Commands that measure bundles. What needs the runtimes is imported where it is used, so that `--help`
answers at once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fleet_contract.errors import ConfigError, DataError
from fleet_contract.names import Precision, Runtime
from trainer.commands.data import DEFAULT_STORE, JsonOption, StoreOption
from trainer.commands.model import PrecisionOption, RuntimeOption, read_file, unpacked
from trainer.commands.show import bar, evaluation_table
from trainer.data.store import Store

if TYPE_CHECKING:
    from trainer.samples import Samples

DatasetOption = Annotated[
    str, typer.Option("--dataset", help="Digest of the data set, or its beginning.")
]
CsvOption = Annotated[
    Path | None,
    typer.Option(
        "--csv", help="Images in no store: columns image, mask, defect; others are slices."
    ),
]
RootOption = Annotated[
    Path | None, typer.Option("--root", help="What the CSV's paths are relative to; its folder.")
]
GoodOption = Annotated[str, typer.Option(help="The good class in the CSV file.")]


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's file.")],
    store: StoreOption = DEFAULT_STORE,
    dataset: DatasetOption = "",
    csv: CsvOption = None,
    root: RootOption = None,
    good: GoodOption = "good",
    runtime: RuntimeOption = None,
    precision: PrecisionOption = None,
    html: Annotated[Path | None, typer.Option(help="Also write the report, one HTML page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a bundle on the holdout of a data set, or on images of a CSV file."""
    source = Source(store, dataset, csv, root, good)
    samples = source.samples()
    report = measured(bundle, samples, runtime, precision)
    if html is not None:
        write_page(html, bundle, samples, report, source.name)
    if as_json:
        typer.echo(json.dumps(report))
        return
    Console().print(evaluation_table(report, f"{bundle.name} on {source.name}"))


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="The champion: bundle or evaluation.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The challenger: the same kind.")],
    store: StoreOption = DEFAULT_STORE,
    dataset: DatasetOption = "",
    csv: CsvOption = None,
    root: RootOption = None,
    good: GoodOption = "good",
    as_json: JsonOption = False,
) -> None:
    """Say whether B is better than A, not worse, worse, or undecided, and why.

    Two bundles on the same images; or two files of `evaluate --json`, of the same holdout.
    """
    from trainer.compare import compare_evaluations

    if first.suffix == second.suffix == ".json":
        reports = [read_evaluation(path) for path in (first, second)]
    else:
        samples = Source(store, dataset, csv, root, good).samples()
        reports = [measured(path, samples, only_first=True) for path in (first, second)]
    result = compare_evaluations(*reports)
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(f"{result['outcome']}: {result['why']}")


@dataclass(frozen=True, slots=True)
class Source:
    """The images that a command measures on: the holdout of a data set, or those of a CSV file."""

    store: Path
    dataset: str
    csv: Path | None
    root: Path | None
    good: str

    @property
    def name(self) -> str:
        """For people."""
        return self.csv.name if self.csv else self.dataset[:12]

    def samples(self) -> "Samples":
        """Raises ConfigError where not exactly one source is given, DataError for one that is broken."""
        from trainer.samples import csv_samples, load_samples

        if bool(self.dataset) == (self.csv is not None):
            raise ConfigError("say what to measure on", expected="either --dataset or --csv",
                              found="both" if self.dataset else "neither")  # fmt: skip
        if self.csv is not None:
            return csv_samples(self.csv, self.root or self.csv.parent, self.good)
        opened = Store(self.store)
        return load_samples(opened, opened.version(self.dataset).side("holdout"))


def measured(
    bundle: Path,
    samples: "Samples",
    runtime: Runtime | None = None,
    precision: Precision | None = None,
    *,
    only_first: bool = False,
) -> dict[str, Any]:
    """The evaluation of a bundle's file, with the gates of its line where all models are measured.

    With `only_first` only of the runtime and precision that stand first.
    """
    from trainer import gates
    from trainer.evaluation import evaluate as measure
    from trainer.judge import first_key

    with unpacked(bundle) as (folder, manifest), bar(f"measuring {bundle.name}") as tick:
        if only_first:
            runtime, precision = first_key(manifest)
        report = measure(folder, manifest, samples, runtime, precision, tick)
        limits = gates.limits_of(json.loads((folder / manifest.evaluation).read_text()))
    if limits is not None and runtime is None and precision is None:
        report["gates"] = gates.check(report, limits)
    return report


def write_page(
    path: Path, bundle: Path, samples: "Samples", report: dict[str, Any], name: str
) -> None:
    """The report of an evaluation as an HTML page. Raises DataError where it cannot be written."""
    from trainer.report import ReportData, gallery, html_report

    with unpacked(bundle) as (folder, manifest):
        pictures = gallery(folder, manifest, samples, report)
    page = html_report(ReportData(manifest, report, pictures=pictures, measured_on=name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error


def read_evaluation(path: Path) -> dict[str, Any]:
    """A file of `evaluate --json`. Raises DataError where it is none."""
    try:
        report = json.loads(read_file(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(report, dict):
        raise DataError(f"{path} is not an evaluation", expected="a JSON object",
                        found=type(report).__name__)  # fmt: skip
    return report
