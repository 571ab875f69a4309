"""Facts about the certificate authority."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet_contract.clock import ManualClock
from fleet_contract.errors import ConfigError, ResourceError, StateError
from fleet_server.pki import Kind, create_ca, issue, renew_crl, revoke, write_private

NAMES = {
    Kind.DEVICE: "station-1",
    Kind.SERVER: "server",
    Kind.CONSUMER: "consumer.grafana",
    Kind.BROKER: "broker",
}


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    folder = tmp_path / "pki"
    create_ca(folder)
    return folder


def load(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


@pytest.mark.parametrize("kind", Kind)
def test_a_certificate_bears_its_name_and_is_signed_by_the_authority(ca: Path, kind: Kind) -> None:
    certificate = load(issue(ca, NAMES[kind], kind).certificate)
    certificate.verify_directly_issued_by(load((ca / "ca.crt").read_bytes()))
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == [NAMES[kind]]


@pytest.mark.parametrize("kind", Kind)
def test_a_certificate_has_one_use(ca: Path, kind: Kind) -> None:
    certificate = load(issue(ca, NAMES[kind], kind).certificate)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    wanted = (
        ExtendedKeyUsageOID.SERVER_AUTH if kind is Kind.BROKER else ExtendedKeyUsageOID.CLIENT_AUTH
    )
    assert list(usage) == [wanted]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("server", Kind.DEVICE),
        ("all", Kind.DEVICE),
        ("enrol", Kind.DEVICE),
        ("station/1", Kind.DEVICE),
        ("station+", Kind.DEVICE),
        ("#", Kind.DEVICE),
        ("", Kind.DEVICE),
        ("a" * 65, Kind.DEVICE),
        ("station-1\n", Kind.DEVICE),
        ("consumer.x", Kind.DEVICE),
        ("server2", Kind.SERVER),
        ("grafana", Kind.CONSUMER),
        ("station-1", Kind.BROKER),
    ],
)
def test_a_name_that_would_reach_further_is_refused(ca: Path, name: str, kind: Kind) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        issue(ca, name, kind)


def test_making_the_authority_again_keeps_it(ca: Path) -> None:
    before = {path.name: path.read_bytes() for path in ca.iterdir()}
    create_ca(ca)
    assert {path.name: path.read_bytes() for path in ca.iterdir()} == before


def test_half_an_authority_is_not_mended_silently(ca: Path) -> None:
    (ca / "ca.key").unlink()
    with pytest.raises(StateError, match="half a certificate authority"):
        create_ca(ca)


def test_without_an_authority_nothing_is_issued(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="loupe-server init"):
        issue(tmp_path, "station-1", Kind.DEVICE)


def test_a_key_is_never_overwritten(ca: Path, tmp_path: Path) -> None:
    certificate, key = tmp_path / "device.crt", tmp_path / "device.key"
    issue(ca, "station-1", Kind.DEVICE).save(certificate, key)
    before = certificate.read_bytes(), key.read_bytes()
    with pytest.raises(StateError, match="is there already"):
        issue(ca, "station-1", Kind.DEVICE).save(certificate, key)
    assert (certificate.read_bytes(), key.read_bytes()) == before


def test_private_files_are_for_their_owner_alone_and_leave_nothing_beside(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"one")
    write_private(tmp_path / "key", b"two", replace=True)
    assert (tmp_path / "key").read_bytes() == b"two"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_every_file_of_the_authority_is_private(ca: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in ca.iterdir()} == {0o600}


def test_the_list_of_revoked_certificates_grows_and_is_renewed(ca: Path) -> None:
    first, second = (issue(ca, name, Kind.DEVICE).certificate for name in ("a", "b"))
    revoke(ca, first)
    revoke(ca, second)
    revoke(ca, second)
    renew_crl(ca)
    crl = x509.load_pem_x509_crl((ca / "ca.crl").read_bytes())
    assert {entry.serial_number for entry in crl} == {
        load(first).serial_number,
        load(second).serial_number,
    }
    assert len(crl) == 2


def test_validity_follows_the_clock_that_was_given(tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_000.0)
    create_ca(tmp_path, clock)
    certificate = load(issue(tmp_path, "station-1", Kind.DEVICE, clock).certificate)
    now = datetime.fromtimestamp(1_800_000_000.0, UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert (certificate.not_valid_after_utc - now).days == 3650
