"""What tables of the station's configuration have in common."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the file: immutable, and a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PlantBroker(Section):
    """A broker of the plant, which is not the fleet's."""

    host: str
    port: int = Field(default=1883, ge=1, le=65535)
    ca: Path | None = None
    """The authority of the broker's certificate; none: no TLS."""
    user: str = ""
    password_file: Path | None = None
