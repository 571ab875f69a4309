"""The server's configuration: `server.toml` in its folder, one frozen table, units in the text."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet_contract.errors import ConfigError
from fleet_contract.messages import first_problem
from fleet_contract.units import Bytes, Seconds

FILE_NAME = "server.toml"


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True
    )


class HttpConfig(_Section):
    """Where the API and the console listen."""

    host: str = "127.0.0.1"
    """127.0.0.1 or localhost; anything else is refused, because there are no user accounts."""
    port: int = Field(default=8420, ge=0, le=65535)
    """0 takes a free one."""


class BrokerConfig(_Section):
    """The broker that the server connects to."""

    host: str = "localhost"
    """A name that stands in the broker's certificate."""
    port: int = Field(default=8883, ge=1, le=65535)
    """The listener with mutual TLS."""


class DatabaseConfig(_Section):
    """Where everything but images and bundles is kept."""

    url: str = ""
    """An SQLAlchemy URL; empty: SQLite in the server's folder."""


class DriftConfig(_Section):
    """From windows to an alarm; `fleet_server.drift.rules` says what each number does."""

    baseline_windows: int = Field(default=30, ge=5, le=10_000)
    """Windows that make a baseline: 30 of 2 s in a demonstration, a day of 60 s on a line."""
    threshold: float = Field(default=5.9, gt=0)
    """T at which a feature alarms; higher: fewer false alarms, later true ones."""
    minimum_frames: int = Field(default=4, ge=1)
    """Windows with fewer sampled frames are not looked at."""
    command_repeat: Seconds = Field(default="30s")  # type: ignore[assignment]
    """After this long without samples a device is asked again."""


class RunsConfig(_Section):
    """Leases of training runs."""

    lease: Seconds = Field(default="30s")  # type: ignore[assignment]
    """A worker that is not heard of for so long has lost its run."""
    attempts: int = Field(default=3, ge=1)
    """Workers that may be lost before a run fails."""


class LimitsConfig(_Section):
    """What is refused as too large, or too many."""

    blob: Bytes = Field(default="64MiB")  # type: ignore[assignment]
    """Largest image, mask or sample."""
    checkpoint: Bytes = Field(default="64MB")  # type: ignore[assignment]
    """Largest state that a worker leaves of a training run, to be gone on from."""
    samples_open: int = Field(default=8, ge=1)
    """Samples of one device that may be on their way at the same time."""


class RetentionConfig(_Section):
    """What is forgotten, and when. Verdicts, events, samples and the audit log are kept."""

    windows: Seconds = Field(default="30d")  # type: ignore[assignment]
    """Age at which statistics windows are deleted."""


class TrustConfig(_Section):
    """Signed metadata that expire."""

    warn: Seconds = Field(default="30d")  # type: ignore[assignment]
    """So long before roots and the list of bundles expire, which offline keys sign, people are told."""


class ServerConfig(_Section):
    """The whole file; `folder` is where it lies."""

    http: HttpConfig = HttpConfig()
    broker: BrokerConfig = BrokerConfig()
    database: DatabaseConfig = DatabaseConfig()
    drift: DriftConfig = DriftConfig()
    runs: RunsConfig = RunsConfig()
    limits: LimitsConfig = LimitsConfig()
    retention: RetentionConfig = RetentionConfig()
    trust: TrustConfig = TrustConfig()
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def database_url(self) -> str:
        """The URL that is used: the configured one, or SQLite in the folder."""
        return self.database.url or f"sqlite:///{self.folder / 'loupe.db'}"


def read_config(folder: Path) -> ServerConfig:
    """The configuration in `folder`. Raises ConfigError that names the file and the key."""
    path = folder / FILE_NAME
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is not there", remedy=f"Make it with `loupe-server init {folder}`."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML", found=str(error)) from error
    if "folder" in content:
        raise ConfigError(f"{path}: folder is no key", remedy="The file's own folder is taken.")
    try:
        config = ServerConfig.model_validate({**content, "folder": folder.absolute()})
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from error
    check_host(config.http.host)
    return config


def check_host(host: str) -> None:
    """Raises ConfigError for anything but this machine: the API has no accounts in this version."""
    if host not in ("127.0.0.1", "localhost"):
        raise ConfigError(
            "the server binds to this machine only",
            expected="127.0.0.1 or localhost as http.host",
            found=host,
            remedy="There are no user accounts in this version; reach it from elsewhere by an SSH "
            "tunnel or a proxy that asks who is there.",
        )


def render_config(http_port: int, broker_port: int) -> str:
    """The text of a new `server.toml`."""
    return f"""\
# Configuration of the Loupe server. Every key and its default: docs/reference/server-config.md

[http]
host = "127.0.0.1"
port = {http_port}

[broker]
host = "localhost"
port = {broker_port}

[drift]
baseline_windows = 30
threshold = 5.9
minimum_frames = 4
"""
