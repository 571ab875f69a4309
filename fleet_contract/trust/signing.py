"""Signed device state: `{payload, sig}`, ECDSA P-256 with SHA-256 by the key of the device's certificate."""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from fleet_contract.errors import TrustError
from fleet_contract.messages import DeviceState, SignedState

_ALGORITHM = ec.ECDSA(hashes.SHA256())


def sign_state(state: DeviceState, key: ec.EllipticCurvePrivateKey) -> SignedState:
    """The state as text, and its signature."""
    payload = state.model_dump_json()
    signature = key.sign(payload.encode(), _ALGORITHM)
    return SignedState(payload=payload, sig=base64.b64encode(signature).decode())


def verify_state(
    signed: SignedState, key: ec.EllipticCurvePublicKey, *, device: str, last_counter: int
) -> DeviceState:
    """The state that `device` signed.

    Raises TrustError for a wrong signature, another device's name, or a counter at or below
    `last_counter` (a replay).
    """
    try:
        signature = base64.b64decode(signed.sig, validate=True)
        key.verify(signature, signed.payload.encode(), _ALGORITHM)
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise TrustError(f"state of {device} is not signed by its key") from error
    state = DeviceState.decode(signed.payload.encode())
    if state.device != device:
        raise TrustError(f"state of {device} names another device", found=state.device)
    if state.counter <= last_counter:
        raise TrustError(
            f"state of {device} is old",
            expected=f"a counter above {last_counter}",
            found=str(state.counter),
            remedy="A replay, or two devices share one identity.",
        )
    return state
