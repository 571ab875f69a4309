"""States, causes and features in the words of a quality engineer. Pure tables and functions."""

from collections.abc import Mapping
from typing import Any

from fleet_server.console.show import Badge, Tone, number, plain

_UPDATE: Mapping[str, Tone] = {
    "fetching": "info", "verified": "info", "staged": "info", "self_test": "info",
    "shadow": "info", "canary": "info", "activating": "info", "probation": "info",
    "committed": "ok", "rolled_back": "bad", "failed": "bad",
}  # fmt: skip
_INCIDENT: Mapping[str, Tone] = {
    "open": "bad", "sampling": "warn", "labelling": "warn", "training": "info", "trained": "info",
}  # fmt: skip
_RUN: Mapping[str, Tone] = {"leased": "info", "succeeded": "ok", "failed": "bad"}
_ROLLOUT: Mapping[str, Tone] = {
    "running": "info", "paused": "warn", "awaiting_approval": "warn",
    "completed": "ok", "aborted": "bad", "rolled_back": "bad",
}  # fmt: skip
_RELEASE: Mapping[str, Tone] = {
    "awaiting_approval": "warn", "approved": "ok", "refused": "bad"
}  # fmt: skip
_VERDICT: Mapping[str, Tone] = {"accept": "ok", "reject": "bad", "no_decision": "warn"}
_SEVERITY: Mapping[str, Tone] = {"info": "info", "warning": "warn", "error": "bad"}
_DECISION: Mapping[str, Tone] = {"promote": "ok", "hold": "idle", "roll_back": "bad"}
_BASELINE: Mapping[str, Tone] = {"proposed": "warn", "accepted": "ok"}

FEATURES: Mapping[str, str] = {
    "mean": "mean grey", "std": "contrast", "p01": "darkest 1 %", "p99": "brightest 1 %",
    "clip_low": "clipped dark", "clip_high": "clipped bright", "entropy": "entropy",
    "sharpness": "sharpness", "noise": "noise", "edges": "edges", "rg": "red to green",
    "bg": "blue to green", "saturation": "saturation", "shift_x": "shift across",
    "shift_y": "shift down", "shift_response": "match with the reference", "score": "mean score",
}  # fmt: skip

CAUSES: Mapping[str, tuple[str, str]] = {
    "light": (
        "The light has changed",
        "Brightness and what follows from it moved together, while sharpness stayed. A lamp ages, "
        "is covered, or other light falls in.",
    ),
    "focus": (
        "The picture is less sharp",
        "Sharpness and edges moved, brightness stayed. The lens is out of focus or loose.",
    ),
    "dirt": (
        "Something is on the glass",
        "Single cells of the picture left their neighbours. Dust, oil or a drop on lens or cover.",
    ),
    "camera": (
        "The camera has moved",
        "The picture is shifted against the reference. A mount is loose, or somebody touched it.",
    ),
    "noise": (
        "The picture is noisier",
        "Noise moved, brightness and sharpness explain it not. Gain, cable or sensor.",
    ),
    "mix": (
        "Other parts come by",
        "Scores moved at the input of the line, while the picture as a whole stayed.",
    ),
    "model": (
        "The model judges otherwise",
        "Scores moved, the picture did not.",
    ),
}

WHY: Mapping[str, str] = {
    "reject": "The active model rejected this part.",
    "near_threshold": "The score lies near the threshold, where a person's look is worth most.",
    "audit": "A random audit sample: it shows what the model does on ordinary parts.",
    "disagreement": "The candidate and who judges today, a model or people, disagree on this part.",
    "requested": "An incident asked this station for pictures.",
}

_SPELLED: Mapping[str, str] = {"auroc": "AUROC", "ap": "AP", "f1": "F1", "ms": "in ms", "s": "in s"}

PLAYBOOK = ("open", "sampling", "labelling", "training", "trained", "closed")
"""States of an incident in their order."""


def update(state: str) -> Badge:
    """State of an update on a device."""
    return Badge(plain(state), _UPDATE.get(state, "idle"))


def incident(state: str) -> Badge:
    """State of an incident."""
    return Badge(plain(state), _INCIDENT.get(state, "idle"))


def run(state: str, *, cancelling: bool = False) -> Badge:
    """State of a training run; a leased one is running."""
    if cancelling and state == "leased":
        return Badge("being cancelled", "warn")
    return Badge("running" if state == "leased" else plain(state), _RUN.get(state, "idle"))


def rollout(state: str) -> Badge:
    """State of a rollout."""
    return Badge(plain(state), _ROLLOUT.get(state, "idle"))


def release(state: str) -> Badge:
    """State of a release."""
    return Badge(plain(state), _RELEASE.get(state, "idle"))


def verdict(name: str) -> Badge:
    """A verdict."""
    return Badge(plain(name), _VERDICT.get(name, "idle"))


def decision(name: str) -> Badge:
    """What a gate decided."""
    return Badge(plain(name), _DECISION.get(name, "idle"))


def baseline(state: str) -> Badge:
    """State of a baseline."""
    return Badge(plain(state), _BASELINE.get(state, "idle"))


def event(kind: str, severity: str, data: Mapping[str, Any]) -> Badge:
    """Kind of an event; an update step shows its state."""
    state = data.get("state")
    if kind == "update" and isinstance(state, str):
        return update(state)
    return Badge(plain(kind), _SEVERITY.get(severity, "info"))


def link(online: bool) -> Badge:
    """Whether a device is connected."""
    return Badge("online", "ok") if online else Badge("offline", "bad")


def feature(name: str) -> str:
    """A feature of windows in words; a thumbnail's cell by its row and column from 1."""
    if name.startswith("cell_") and name[5:].isdigit():
        row, column = divmod(int(name[5:]), 8)
        return f"cell in row {row + 1}, column {column + 1}"
    return FEATURES.get(name, plain(name))


def flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A JSON object as (name, value) in words; objects inside are walked, lists are joined."""
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        name = _capital(prefix + _name(str(key)))
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}, ")
        elif isinstance(value, list | tuple):
            rows.append(
                (name, ", ".join(number(item) if _plain(item) else str(item) for item in value))
            )
        elif _plain(value):
            rows.append((name, number(value)))
    return rows


def _name(key: str) -> str:
    return " ".join(_SPELLED.get(word, word) for word in plain(key).split(" "))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
