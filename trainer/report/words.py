"""Numbers and verdicts in words that a quality engineer reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and how it is meant."""

    tone: Tone
    title: str
    text: str


def number(value: float | None, digits: int = 3) -> str:
    """`0.987`; a dash where it is not known."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """`1.3 %`; a dash where it is not known."""
    return "-" if value is None else f"{value * 100:.1f} %"


def rate(value: Mapping[str, Any]) -> str:
    """`1.0 % (0.0 to 5.7 %)`."""
    if value.get("rate") is None:
        return "-"
    return f"{percent(value['rate'])} ({value['low'] * 100:.1f} to {percent(value['high'])})"


def counted(value: Mapping[str, Any]) -> str:
    """`1 of 96`."""
    return f"{value['count']} of {value['trials']}"


def spanned(value: float | None, interval: Mapping[str, float] | None) -> str:
    """`0.981 (0.970 to 0.990)`."""
    if value is None or interval is None:
        return number(value)
    return f"{value:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def promises(promise: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[Finding]:
    """What the threshold was chosen for, what was measured, and whether that is enough."""
    kinds = (("overkill", "good images rejected"), ("escape", "defective images let through"))
    return [
        _promise(float(promise[f"{name}_at_most"]), evaluation[name], what)
        for name, what in kinds
        if f"{name}_at_most" in promise
    ]


def _promise(limit: float, measured: Mapping[str, Any], what: str) -> Finding:
    title = f"Promised: at most {percent(limit)} of {what}"
    if measured["rate"] is None:
        return Finding("warn", title, "There was no image to measure it on.")
    said = f"Measured: {counted(measured)}, {rate(measured)} at 95 % confidence. "
    if measured["high"] <= limit:
        return Finding(
            "good", title, said + "The whole interval lies within the promise: it is kept."
        )
    if measured["rate"] <= limit:
        return Finding("good", title, said + f"The measured share keeps the promise; {measured['trials']} "
                       "images are too few to exclude a higher one.")  # fmt: skip
    if measured["low"] <= limit:
        return Finding("warn", title, said + "The measured share lies above the promise, by no more than "
                       "chance explains. More images would decide it.")  # fmt: skip
    return Finding("bad", title, said + "The promise is not kept on these images.")


def escapes(evaluation: Mapping[str, Any]) -> Finding | None:
    """What gets through, for a line whose promise is about something else."""
    escape = evaluation["escape"]
    if escape["rate"] is None:
        return None
    text = (
        f"{counted(escape)} defective images pass: {rate(escape)} at 95 % confidence. No escape "
        f"among {escape['trials']} images would still mean up to "
        f"{percent(1 - 0.025 ** (1 / escape['trials']))}."
    )
    return Finding("good" if not escape["count"] else "warn", "What gets through", text)


def undecided(evaluation: Mapping[str, Any]) -> Finding | None:
    """Images without a decision; None where every image has one."""
    missing = evaluation["no_decision"]
    if not missing["count"]:
        return None
    named = "; ".join(f"{one['image']}: {one['why']}" for one in missing["images"][:3])
    return Finding("warn", f"{missing['count']} images got no decision",
                   f"{missing['defective']} of them are defective; they stand in no rate. {named}")  # fmt: skip


def release(evaluation: Mapping[str, Any]) -> Finding:
    """Whether the bundle may be released, by the gates of its line."""
    gates = evaluation.get("gates")
    if gates is None:
        return Finding(
            "warn", "No gates were checked", "Nobody has said what this bundle must reach."
        )
    if gates["passed"]:
        names = ", ".join(one["name"] for one in gates["checks"])
        return Finding("good", "It passes the gates of its line", f"Checked: {names}.")
    failed = "; ".join(
        f"{one['name']}: {one['why']}" for one in gates["checks"] if not one["passed"]
    )
    return Finding("bad", "It fails gates of its line and cannot be released", f"{failed}.")


def findings(promise: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[Finding]:
    """Everything that stands first."""
    found = [release(evaluation), *promises(promise, evaluation)]
    return [*found, *(one for one in (escapes(evaluation), undecided(evaluation)) if one)]


def headline(promise: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Finding:
    """The whole in one sentence: what was promised, what was measured, whether it is enough."""
    kept, gates = promises(promise, evaluation), release(evaluation)
    tones = [one.tone for one in (gates, *kept)]
    tone: Tone = "bad" if "bad" in tones else "warn" if "warn" in tones else "good"
    if tone == "good":
        enough = "That is enough for what this line asks."
    elif tone == "warn":
        enough = "Whether that is enough is not settled: see below."
    elif gates.tone == "bad":
        enough = "That is not enough: it fails gates of its line."
    else:
        enough = "That is not enough: the promise is not kept."
    promised = "; ".join(one.title[len("Promised: "):] for one in kept)  # fmt: skip
    measured = [
        f"{word} {counted(evaluation[name])} {what}"
        for name, word, what in (("overkill", "it rejects", "good images"),
                                 ("escape", "it lets through", "defective ones"))
        if evaluation[name]["rate"] is not None
    ]  # fmt: skip
    first = f"Promised is {promised}. " if promised else "Nothing was promised. "
    seen = " and ".join(measured)
    return Finding(tone, seen[:1].upper() + seen[1:] if seen else "Nothing was measured",
                   f"{first}{enough}")  # fmt: skip
