"""What the device reports of itself, signed, with a counter that never goes back."""

from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from edge_agent import VERSION
from edge_agent.config import LinkConfig
from edge_agent.db import Database
from edge_agent.health import boot_id
from edge_agent.spool import Spool
from edge_agent.update.durable import Durable
from fleet_contract.board import Board
from fleet_contract.clock import Clock
from fleet_contract.errors import ConfigError
from fleet_contract.messages import DeviceState
from fleet_contract.trust.signing import sign_state


def device_key(device: str, link: LinkConfig) -> ec.EllipticCurvePrivateKey:
    """The key of the device's certificate, which must be `device`'s. Raises ConfigError."""
    _check_name(device, link.cert)
    path = link.key
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"link.key: {path} cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"link.key: {path} is no EC key", expected="ECDSA P-256")
    return key


def _check_name(device: str, path: Path) -> None:
    # The broker knows the device by this name, and drops without a word what it says under another.
    try:
        subject = x509.load_pem_x509_certificate(path.read_bytes()).subject
    except (OSError, ValueError) as error:
        raise ConfigError(f"link.cert: {path} cannot be read: {error}") from error
    names = [str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [device]:
        raise ConfigError(
            "device is not the name in link.cert",
            expected=", ".join(names) or "a certificate with a common name",
            found=device,
            remedy=f"Set device to the name in {path.name}, or use the files of that device.",
        )


class StateReport:
    """Builds and signs the device's state."""

    def __init__(
        self,
        device: str,
        line: str,
        board: Board,
        db: Database,
        spool: Spool,
        durable: Durable,
        key: ec.EllipticCurvePrivateKey,
        clock: Clock,
        scales: Mapping[str, float],
    ) -> None:
        """`scales` are millimetres of a pixel, by camera."""
        self._device, self._line, self._board = device, line, board
        self._db, self._spool, self._durable = db, spool, durable
        self._key, self._clock, self._scales = key, clock, scales

    def signed(self, *, inspecting: bool) -> bytes:
        """The next state: its counter is durable before it leaves the device."""
        line = self._durable.line_state(self._line, inspecting=inspecting)
        state = DeviceState(
            device=self._device,
            counter=self._db.count("state_counter"),
            boot_id=boot_id(),
            spool_id=self._spool.id,
            agent_version=VERSION,
            hardware=self._board.hardware,
            runtime=f"{self._board.runtime}/{self._board.precision}",
            time_s=self._clock.time(),
            lines={self._line: line.model_copy(update={"mm_per_pixel": dict(self._scales)})},
        )
        return sign_state(state, self._key).encode()
