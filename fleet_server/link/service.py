"""The link to the devices: connection, writer and responder, started and stopped as one."""

from fleet_server.link.assembly import Assemblies
from fleet_server.link.client import MqttPublisher
from fleet_server.link.ingest import Ingest
from fleet_server.link.publisher import RequestHandler
from fleet_server.link.worker import Responder, Writer
from fleet_server.services import Services


class Link:
    """`services.publisher` has to be the same publisher."""

    def __init__(self, services: Services, publisher: MqttPublisher) -> None:
        folder = services.config.folder / "incoming-samples"
        limit = services.config.limits.samples_open
        assemblies = Assemblies(folder, limit, services.clock.monotonic)
        self._responder = Responder(services.failures)
        self.ingest = Ingest(services, assemblies, self._responder.put)
        self._writer = Writer(self.ingest.take, services.failures)
        self.publisher = publisher

    def on_request(self, handler: RequestHandler) -> None:
        """Says who answers the devices' requests."""
        self._responder.handle(handler)

    def start(self) -> None:
        """Connects and begins to take messages."""
        self._writer.start()
        self._responder.start()
        self.publisher.start(self._writer)

    def stop(self) -> None:
        """Disconnects, writes what came, ends."""
        self.publisher.stop()
        self._writer.stop()
        self._responder.stop()
