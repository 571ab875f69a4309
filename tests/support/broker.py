"""A real broker for tests: mutual TLS, a free port, certificates for whoever asks."""

import socket
from pathlib import Path

from fleet_server.broker import BrokerProcess, prepare_broker, start_broker
from fleet_server.pki import Kind, create_ca, issue
from fleet_server.pki.authority import CA_CERTIFICATE


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Pki:
    """A certificate authority in a folder, and the certificates that it gave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        create_ca(folder)

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.folder / CA_CERTIFICATE

    def credentials(self, name: str) -> tuple[Path, Path]:
        """Paths of certificate and key of a device, `server`, or a consumer, made when first asked."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not key.exists():
            issue(self.folder, name, kind_of(name)).save(certificate, key)
        return certificate, key


def kind_of(name: str) -> Kind:
    """What a certificate of that name is for."""
    if name == "server":
        return Kind.SERVER
    return Kind.CONSUMER if name.startswith("consumer.") else Kind.DEVICE


class TestBroker:
    """A broker that can be stopped and started again on the same port with the same data."""

    __test__ = False
    host = "127.0.0.1"

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.pki = pki
        self.port = free_port()
        self.config = prepare_broker(
            folder, pki.folder, port=self.port, consumers=["consumer.grafana"]
        )
        self._process: BrokerProcess | None = None

    @property
    def ca(self) -> Path:
        """The certificate that clients trust."""
        return self.pki.ca

    @property
    def log(self) -> str:
        """What the broker wrote so far."""
        return (self.config.parent / "mosquitto.log").read_text()

    def credentials(self, name: str) -> tuple[Path, Path]:
        """Paths of certificate and key of `name`."""
        return self.pki.credentials(name)

    def start(self) -> None:
        """Listens when it returns."""
        self._process = start_broker(self.config)

    def stop(self) -> None:
        """Ends it; retained messages and sessions stay on disk."""
        if self._process is not None:
            self._process.stop()
            self._process = None
