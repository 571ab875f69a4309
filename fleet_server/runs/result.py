"""What came of a run, in one sentence. Pure."""

from collections.abc import Mapping
from typing import Any

from fleet_server.runs.models import TrainingRun

_SAID: Mapping[str, str] = {
    "better": "Better than the champion{}",
    "not_worse": "Not better than the champion{}, and not worse",
    "undecided": "Not shown to be better than the champion{}",
    "worse": "Worse than the champion{}, and no release",
}
_SHORT = 12


def sentence(run: TrainingRun) -> str:
    """Better or not, by how much, on which holdout; empty where nothing was compared."""
    if not run.comparison:
        first = run.state == "succeeded" and run.champion is None
        return "The line's first bundle: there is no champion to compare it with." if first else ""
    outcome = str(run.comparison.get("outcome", ""))
    said = _SAID.get(outcome, "Compared with the champion{}")
    champion = f" {run.champion[:_SHORT]}" if run.champion else ""
    return f"{said.format(champion)}: {_amount(run.comparison)}, {_holdout(run)}."


def _amount(comparison: Mapping[str, Any]) -> str:
    auroc = comparison.get("auroc")
    if not isinstance(auroc, Mapping) or not _number(auroc.get("difference")):
        return str(comparison.get("why", "no figure was given"))
    text = f"AUROC {auroc['difference']:+.3f}"
    if _number(auroc.get("low")) and _number(auroc.get("high")):
        text += f" ({auroc['low']:+.3f} to {auroc['high']:+.3f})"
    verdicts = comparison.get("verdicts")
    if isinstance(verdicts, Mapping):
        right, lost = verdicts.get("challenger_right"), verdicts.get("champion_right")
        text += f", {right} verdicts gained and {lost} lost"
    return text


def _holdout(run: TrainingRun) -> str:
    images, parts = run.comparison.get("images"), run.comparison.get("parts")
    size = f" ({images} images of {parts} parts)" if _number(images) and _number(parts) else ""
    return f"on the holdout of dataset {run.dataset[:_SHORT]}{size}"


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
