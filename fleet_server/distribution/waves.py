"""When a wire encoding is broadcast, and for whom. Pure: values and times in, decisions out.

The first device that joins opens a wave. It is broadcast once: as soon as every device that is assigned
the bundle and online has joined, or `DEADLINE_S` after the first did. Who comes later, or misses blocks,
asks for them one by one; a later wave opens where at least two come together again.
"""

from dataclasses import dataclass, replace

DEADLINE_S = 1.5
"""Below the two quiet seconds after which a device asks for blocks by itself."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Devices that wait for one broadcast of one encoding."""

    digest: str
    opened_s: float
    """Monotonic time of the first join."""
    joined: frozenset[str]
    first: bool
    """No wave of this encoding was broadcast before."""

    def join(self, device: str) -> "Wave":
        """With one more device."""
        return replace(self, joined=self.joined | {device})

    def due(self, expected: frozenset[str], now_s: float) -> bool:
        """Whether to broadcast now; `expected`: assigned the bundle, online, not served before."""
        everyone = expected <= self.joined
        return everyone or now_s - self.opened_s >= DEADLINE_S

    @property
    def worth_it(self) -> bool:
        """Whether one broadcast is better than single answers."""
        return self.first or len(self.joined) > 1
