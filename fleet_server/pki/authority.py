"""The certificate authority of one server: ECDSA P-256, X.509 v3, names of our choosing.

Folder: `ca.crt`, `ca.key`, `ca.crl`. A certificate's common name is the broker's user name and the
MQTT client id, so the authority checks each name and gives each kind one use only (RFC 5280,
extended key usage): the broker's certificate is no client's, a client's is no broker's.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet_contract.clock import Clock, SystemClock
from fleet_contract.errors import ConfigError, ResourceError, StateError
from fleet_contract.names import DEVICE_PATTERN, RESERVED_DEVICES, is_device
from fleet_server.pki.files import write_private

CA_CERTIFICATE, CA_KEY, CA_CRL = "ca.crt", "ca.key", "ca.crl"
CONSUMER_PATTERN = r"consumer\.[A-Za-z0-9_-]{1,50}"
"""A consumer's name has a dot, so that it can never be a device's."""

_BACKDATE = timedelta(days=1)  # a device whose clock runs a little late accepts it at once
_CA_LIFE = timedelta(days=20 * 365)
_LEAF_LIFE = timedelta(days=10 * 365)
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*")
_CRL_LIFE = timedelta(days=10 * 365)  # an expired list would lock everybody out


class Kind(StrEnum):
    """What a certificate is for."""

    DEVICE = "device"
    SERVER = "server"
    CONSUMER = "consumer"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def save(self, certificate: Path, key: Path) -> None:
        """Writes both, mode 0600. Raises StateError, having changed nothing, where a key is there."""
        write_private(key, self.key)
        write_private(certificate, self.certificate, replace=True)


def create_ca(folder: Path, clock: Clock | None = None) -> None:
    """Makes the authority in `folder`; one that is there already is left as it is.

    Raises StateError where only a part of it is there.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = [name for name in (CA_KEY, CA_CERTIFICATE) if (folder / name).exists()]
    if len(there) == 1:
        raise StateError(
            f"{folder} holds half a certificate authority",
            expected=f"{CA_CERTIFICATE} and {CA_KEY}",
            found=there[0],
            remedy="Restore the other file from a backup, or start in an empty folder.",
        )
    if not there:
        _new_ca(folder, _now(clock))
    if not (folder / CA_CRL).exists():
        renew_crl(folder, clock)


def _new_ca(folder: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("loupe certificate authority")
    usage = _usage(signs_certificates=True)
    certificate = (
        _builder(name, name, key.public_key(), now, _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    Issued(_pem(certificate), _key_pem(key)).save(folder / CA_CERTIFICATE, folder / CA_KEY)


def issue(
    folder: Path,
    common_name: str,
    kind: Kind,
    clock: Clock | None = None,
    *,
    reachable: str = "",
) -> Issued:
    """A new key and a certificate for `common_name`, signed by the authority in `folder`.

    `reachable`: a host name or address besides localhost under which it is called. Nothing is
    written. Raises ConfigError for a name that this kind may not bear, ResourceError
    where the authority cannot be read.
    """
    check_name(common_name, kind)
    ca, ca_key = _load(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    builder = (
        _builder(_name(common_name), ca.subject, public, _now(clock), _LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_purpose(kind)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if kind in (Kind.BROKER, Kind.SERVER):
        hosts = ["localhost", "127.0.0.1", *([reachable] if reachable else [])]
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return Issued(_pem(builder.sign(ca_key, hashes.SHA256())), _key_pem(key))


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(host):
        raise ConfigError(
            f"{host!r} is no host", expected="a name such as broker.example, or an address"
        )
    return x509.DNSName(host)


def check_name(common_name: str, kind: Kind) -> None:
    """Raises ConfigError where a certificate of `kind` may not bear that name."""
    rules = {
        Kind.DEVICE: (
            is_device(common_name),
            f"{DEVICE_PATTERN} and none of {', '.join(sorted(RESERVED_DEVICES))}",
        ),
        Kind.SERVER: (common_name == "server", "server"),
        Kind.CONSUMER: (re.fullmatch(CONSUMER_PATTERN, common_name), CONSUMER_PATTERN),
        Kind.BROKER: (common_name == "broker", "broker"),
    }
    fits, expected = rules[kind]
    if not fits:
        raise ConfigError(
            f"{common_name!r} cannot be the name of a {kind}",
            expected=expected,
            remedy="Choose another name.",
        )


def revoke(folder: Path, certificate: bytes, clock: Clock | None = None) -> None:
    """Adds a certificate (PEM) to the list of revoked ones.

    The broker reads the list when it starts; a session that is open stays open until then.
    """
    serial = x509.load_pem_x509_certificate(certificate).serial_number
    now = _now(clock)
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    revoked = [old for old in _revoked(folder) if old.serial_number != serial]
    _write_crl(folder, [*revoked, entry], now)


def renew_crl(folder: Path, clock: Clock | None = None) -> None:
    """Signs the list of revoked certificates anew, so that it does not expire."""
    _write_crl(folder, _revoked(folder), _now(clock))


def _write_crl(folder: Path, revoked: list[x509.RevokedCertificate], now: datetime) -> None:
    ca, key = _load(folder)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(now - _BACKDATE)
        .next_update(now + _CRL_LIFE)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    data = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    write_private(folder / CA_CRL, data, replace=True)


def _revoked(folder: Path) -> list[x509.RevokedCertificate]:
    path = folder / CA_CRL
    return list(x509.load_pem_x509_crl(path.read_bytes())) if path.exists() else []


def _load(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / CA_CERTIFICATE).read_bytes())
        key = serialization.load_pem_private_key((folder / CA_KEY).read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"the certificate authority in {folder} cannot be read: {error}",
            remedy="Make it with `loupe-server init`, or restore it from a backup.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ResourceError(f"{folder / CA_KEY} is of another kind", expected="an ECDSA key")
    return certificate, key


def _now(clock: Clock | None) -> datetime:
    return datetime.fromtimestamp((clock or SystemClock()).time(), UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _purpose(kind: Kind) -> x509.ObjectIdentifier:
    return (
        ExtendedKeyUsageOID.SERVER_AUTH if kind is Kind.BROKER else ExtendedKeyUsageOID.CLIENT_AUTH
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
