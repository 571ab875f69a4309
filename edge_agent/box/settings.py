"""The table `[box]` of the station's configuration."""

from pydantic import Field

from edge_agent.section import Section


class BoxConfig(Section):
    """The status page and the metrics: read-only, and open to whoever reaches the address."""

    address: str = Field(default="127.0.0.1:8421", pattern=r"^$|^[^:/\s]+:\d{1,5}$")
    """`host:port`; port 0 takes a free one, an empty text serves nothing."""
