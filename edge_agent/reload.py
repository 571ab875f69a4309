"""A configuration read anew while the agent runs: what applies at once, and what needs a restart. Pure."""

from dataclasses import dataclass

from edge_agent.config import StationConfig

SAFE = ("heartbeat", "samples", "probation", "trial")
"""Settings and tables that apply to the next part; all others belong to what stands since the start."""


@dataclass(frozen=True, slots=True)
class Change:
    """What another reading of the file brings."""

    config: StationConfig
    """The running one, with the safe parts of the new one."""
    applied: list[str]
    waiting: list[str]
    """Changed as well, but only by a restart."""

    @property
    def text(self) -> str:
        """In words, for an event."""
        if not self.applied and not self.waiting:
            return "configuration read anew: nothing changed"
        words = []
        if self.applied:
            words.append(f"{', '.join(self.applied)} applies from now on")
        if self.waiting:
            words.append(f"{', '.join(self.waiting)} needs a restart")
        return f"configuration read anew: {'; '.join(words)}"


def change(old: StationConfig, new: StationConfig) -> Change:
    """Compares table by table."""
    names = [
        name for name in StationConfig.model_fields if getattr(old, name) != getattr(new, name)
    ]
    applied = [name for name in names if name in SAFE]
    config = old.model_copy(update={name: getattr(new, name) for name in applied})
    return Change(config, applied, [name for name in names if name not in SAFE])
