"""Approving: what a signature stands for, and what it is refused for."""

from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, TargetFile, Targets

from fleet_contract.blocks import sha256
from fleet_contract.errors import ConfigError, TrustError
from fleet_contract.trust.approve import review, sign_release, signed_by
from fleet_contract.trust.custom import target_name
from fleet_contract.trust.keys import generate_key, load_signer
from fleet_server.trust.setup import APPROVER
from tests.support.trust import TrustBench, image_custom

DIGEST = sha256(b"new")
TARGET = target_name("watch-case", DIGEST)


@pytest.fixture
def bench(tmp_path: Path) -> TrustBench:
    made = TrustBench(tmp_path)
    made.publish(b"old")
    return made


@pytest.fixture
def draft(bench: TrustBench) -> bytes:
    return bench.repositories.image.draft(DIGEST, 3, image_custom())


@pytest.fixture
def published(bench: TrustBench) -> bytes:
    return bench.repositories.image.targets_bytes()


def changed(metadata: bytes, **fields: object) -> bytes:
    """The same targets with attributes of the signed part replaced."""
    parsed = Metadata[Targets].from_bytes(metadata)
    for name, value in fields.items():
        setattr(parsed.signed, name, value)
    return parsed.to_bytes()


def test_a_review_says_what_is_signed(draft: bytes, published: bytes) -> None:
    shown = review(draft, target=TARGET, previous=published)
    assert (shown.sha256, shown.length, shown.version) == (DIGEST, 3, 3)
    assert (shown.custom.line, shown.custom.epoch) == ("watch-case", 1)
    assert shown.signed_by == ()


def test_a_signature_is_the_keys_own(bench: TrustBench, draft: bytes, published: bytes) -> None:
    keyid, signature = sign_release(
        draft, target=TARGET, signer=load_signer(bench.key(APPROVER)), previous=published
    )
    signed = bench.repositories.image.add_signature(draft, keyid, signature)
    assert signed_by(signed, load_signer(bench.key(APPROVER)).public_key)
    assert not signed_by(signed, load_signer(generate_key()).public_key)


def test_a_target_that_is_not_there_is_not_signed(bench: TrustBench, draft: bytes) -> None:
    with pytest.raises(TrustError, match="does not hold"):
        sign_release(draft, target="watch-case/x.tar", signer=load_signer(bench.key(APPROVER)))


def test_a_second_target_that_rides_along_is_not_signed(draft: bytes, published: bytes) -> None:
    targets = dict(Metadata[Targets].from_bytes(draft).signed.targets)
    stowaway = target_name("watch-case", "e" * 64)
    targets[stowaway] = TargetFile(
        1, {"sha256": "e" * 64}, stowaway, {"custom": image_custom().model_dump(mode="json")}
    )
    with pytest.raises(TrustError, match="more than the release that was asked for; found watch"):
        review(changed(draft, targets=targets), target=TARGET, previous=published)


def test_a_target_that_disappears_is_not_signed(draft: bytes, published: bytes) -> None:
    only = {TARGET: Metadata[Targets].from_bytes(draft).signed.targets[TARGET]}
    with pytest.raises(TrustError, match="changes more than"):
        review(changed(draft, targets=only), target=TARGET, previous=published)


def test_a_changed_floor_is_not_signed(draft: bytes, published: bytes) -> None:
    lowered = changed(draft, unrecognized_fields={"loupe": {"min_epoch": {"watch-case": 1}}})
    with pytest.raises(TrustError, match="delegations or floors"):
        review(lowered, target=TARGET, previous=published)


def test_a_version_that_jumps_is_not_signed(draft: bytes, published: bytes) -> None:
    with pytest.raises(TrustError, match="does not follow the published list"):
        review(changed(draft, version=9), target=TARGET, previous=published)


def test_a_target_named_after_another_bundle_is_not_signed(draft: bytes) -> None:
    targets = dict(Metadata[Targets].from_bytes(draft).signed.targets)
    wrong = target_name("watch-case", "a" * 64)
    targets[wrong] = targets.pop(TARGET)
    with pytest.raises(TrustError, match="not that of its content"):
        review(changed(draft, targets=targets), target=wrong)


def test_a_history_that_the_key_never_signed_is_not_believed(
    draft: bytes, published: bytes
) -> None:
    with pytest.raises(TrustError, match="never signed by this key"):
        sign_release(draft, target=TARGET, signer=load_signer(generate_key()), previous=published)


@pytest.mark.parametrize("key", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_a_clear_error(draft: bytes, key: bytes) -> None:
    with pytest.raises(ConfigError, match="an Ed25519 key in PEM"):
        sign_release(draft, target=TARGET, signer=load_signer(key))


def test_what_is_no_metadata_is_a_clear_error(bench: TrustBench) -> None:
    with pytest.raises(TrustError, match="not TUF metadata"):
        sign_release(b"{}", target=TARGET, signer=load_signer(bench.key(APPROVER)))
