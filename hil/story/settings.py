"""How long and how large the story is: once for people, once for the tests."""

from dataclasses import dataclass, field

from fleet_contract.errors import ConfigError

LINE = "watch-case"
STATIONS = ("station-1", "station-2", "station-3")
AGEING = "station-2"
"""The station whose light ages."""
CANARY = "station-1"


@dataclass(frozen=True)
class Settings:
    """Spans in seconds, rates in parts a second."""

    rate_hz: float = 4.0
    defect_rate: float = 0.25
    images: int = 240
    """Rendered images that the first model is made from."""
    train_budget_s: int = 15
    retrain_budget_s: int = 40
    window_s: float = 2.0
    baseline_windows: int = 30
    dim_light: float = 0.5
    ageing_s: float = 30.0
    samples: int = 60
    """Images of the dim station that the incident asks for."""
    shadow_parts: int = 40
    """Pairs a station before the shadow gate may promote."""
    canary_parts: int = 40
    wave_parts: int = 16
    probation_parts: int = 24
    horizon_s: float = 120.0
    patience_s: float = 180.0
    """The longest wait for one thing to be observed."""
    board: str = "x86-64-box"
    seeds: dict[str, int] = field(
        default_factory=lambda: {name: 100 + n for n, name in enumerate(STATIONS)}
    )


DEMO = Settings()
SHORT = Settings(
    rate_hz=6.0,
    images=160,
    train_budget_s=18,
    retrain_budget_s=18,
    window_s=1.0,
    baseline_windows=16,
    ageing_s=8.0,
    samples=36,
    shadow_parts=24,
    canary_parts=24,
    wave_parts=8,
    probation_parts=12,
    horizon_s=60.0,
    patience_s=120.0,
)
"""The same story in fewer parts, for the tests."""

PRESETS = {"demo": DEMO, "short": SHORT}


def preset(name: str) -> Settings:
    """Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"no story is called {name!r}", expected=" or ".join(PRESETS))
    return PRESETS[name]
