"""The HTML page and the model card, from the same data."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fleet_contract.dataset import GOOD
from fleet_contract.names import Verdict
from trainer.report import plots, words
from trainer.report.data import ReportData

_TEMPLATES = Path(__file__).parent / "templates"
_FILTERS = {
    "number": words.number,
    "percent": words.percent,
    "rate": words.rate,
    "counted": words.counted,
}


def html_report(data: ReportData) -> str:
    """One self-contained page: no script, and nothing that is loaded from anywhere."""
    return _render("report.html", data, escaped=True)


def model_card(data: ReportData) -> str:
    """Markdown: intended use, data, measures, limits, promise."""
    return _render("model_card.md", data, escaped=False)


def _render(name: str, data: ReportData, *, escaped: bool) -> str:
    room = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=escaped, trim_blocks=True,
                       lstrip_blocks=True, undefined=StrictUndefined)  # fmt: skip
    room.filters |= {**_FILTERS, "cell": _cell}
    evaluation, manifest = data.evaluation, data.manifest
    promise = manifest.decision.promise
    return room.get_template(name).render(
        manifest=manifest, evaluation=evaluation, comparison=data.comparison, counts=data.counts,
        measured_on=data.measured_on, pictures=data.pictures,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(manifest.created_s)),
        headline=words.headline(promise, evaluation), findings=words.findings(promise, evaluation),
        figures=_figures(evaluation), slices=_worst_first(evaluation),
        plots=_plots(evaluation) if escaped else [],
    )  # fmt: skip


def _figures(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and meaning of what stands first."""
    intervals = evaluation["intervals"]
    dppm = evaluation["dppm"]["value"]
    return [
        ("Image AUROC", words.spanned(evaluation["image_auroc"], intervals["image_auroc"]),
         "chance that a defective image scores above a good one"),
        ("Image AP", words.spanned(evaluation["image_ap"], intervals["image_ap"]),
         "precision, averaged over recall"),
        ("F1 at the threshold", words.number(evaluation["f1"]),
         f"at best {words.number(evaluation['f1_max'])}, which no threshold chosen before can promise"),
        ("Escape", words.rate(evaluation["escape"]), "defective images that pass"),
        ("Overkill", words.rate(evaluation["overkill"]), "good images that are rejected"),
        ("Outgoing DPPM", "-" if dppm is None else f"{dppm:,.0f}",
         "defective per million passed, with as many defects as in these images"),
        ("Pixel AP", words.spanned(evaluation["pixel_ap"], intervals["pixel_ap"]),
         "over all pixels whose truth is known"),
        ("AUPRO 0.3 / 0.05",
         f"{words.number(evaluation['aupro_30'])} / {words.number(evaluation['aupro_05'])}",
         "overlap with each defect, up to that share of wrong pixels"),
        ("Calibration error", words.number(evaluation["calibration"]["error"]),
         "mean distance of score and share of defects"),
    ]  # fmt: skip


def _worst_first(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every slice in one list, the lowest AUROC first, unknown ones last."""
    rows = [{"column": column, "value": value, **figures}
            for column, values in evaluation["slices"].items()
            for value, figures in values.items()]  # fmt: skip
    return sorted(rows, key=lambda row: (row["image_auroc"] is None, row["image_auroc"] or 0.0,
                                         -float(row["escape"]["rate"] or 0.0)))  # fmt: skip


def _plots(evaluation: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Heading and picture of each plot that the decisions allow."""
    decided = [d for d in evaluation["decisions"] if d["verdict"] != Verdict.NO_DECISION]
    scores = np.array([d["score"] for d in decided], np.float64)
    defective = np.array([d["label"] != GOOD for d in decided], np.bool_)
    if not defective.any() or defective.all():
        return []
    rejected = np.array([d["verdict"] == Verdict.REJECT for d in decided], np.bool_)
    right = int((rejected & defective).sum())
    at = plots.Marked(
        recall=right / int(defective.sum()),
        false_alarms=float(rejected[~defective].mean()),
        precision=right / int(rejected.sum()) if rejected.any() else None,
    )
    bins = [(b["n"], b["score"], b["defective"]) for b in evaluation["calibration"]["bins"]]
    return [
        ("Scores", plots.histogram(scores, defective, float(evaluation["threshold"]))),
        ("ROC", plots.roc(scores, defective, at)),
        ("Precision and recall", plots.precision_recall(scores, defective, at)),
        ("Calibration", plots.calibration(bins)),
    ]


def _cell(value: object) -> str:
    """Text that cannot end a cell of a Markdown table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
