"""Releases: what is taken in, what is signed, what is published."""

from pathlib import Path

import pytest

from fleet_contract.archive import digest as archive_digest
from fleet_contract.blocks import BlockHashes, block, decompress
from fleet_contract.errors import BundleError, StateError, TrustError
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.custom import Encoding
from fleet_contract.trust.keys import generate_key, load_signer
from fleet_server.audit.service import entries, verify
from fleet_server.errors import NotFoundError
from fleet_server.registry.models import Line
from fleet_server.releases import service
from fleet_server.trust.setup import APPROVER, PIPELINE
from tests.support.deploy import LINE, Deploy, archive


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    return Deploy(tmp_path)


def test_a_submitted_bundle_is_stored_described_and_encoded(deploy: Deploy) -> None:
    data = archive()
    release = service.submit(deploy.services, "test", data)
    assert (release.line, release.state, release.length) == (LINE, "built", len(data))
    assert release.describe["runtimes"] == ["onnx"]
    encoding = Encoding.of(release.encodings[0])
    wire = deploy.services.store.read(encoding.digest)
    hashes = BlockHashes.verified(
        deploy.services.store.read(encoding.hashes_digest),
        digest=encoding.hashes_digest,
        length=encoding.length,
        block_size=encoding.block_size,
    )
    assert all(hashes.right(i, block(wire, i, encoding.block_size)) for i in range(hashes.count))
    assert decompress(wire, release.length) == data


def test_the_same_bundle_again_changes_nothing(deploy: Deploy) -> None:
    first = service.submit(deploy.services, "test", archive())
    deploy.sign(first.digest, PIPELINE)
    again = service.submit(deploy.services, "test", archive())
    assert again.state == "awaiting_approval"


def test_a_flipped_byte_in_the_archive_is_refused(deploy: Deploy) -> None:
    data = bytearray(archive())
    data[len(data) // 2] ^= 1
    with pytest.raises(BundleError):
        service.submit(deploy.services, "test", bytes(data))


def test_an_epoch_below_the_lines_is_refused(deploy: Deploy) -> None:
    with deploy.services.database.write() as session:
        line = session.get_one(Line, LINE)
        line.epoch = 2
        session.add(line)
    with pytest.raises(StateError, match="epoch lies below"):
        service.submit(deploy.services, "test", archive())


def test_two_keys_approve_and_one_does_not(deploy: Deploy) -> None:
    digest = service.submit(deploy.services, "test", archive()).digest
    assert deploy.sign(digest, PIPELINE).state == "awaiting_approval"
    assert not deploy.services.trust.image.holds(LINE, digest)
    assert deploy.sign(digest, APPROVER).state == "approved"
    assert deploy.services.trust.image.holds(LINE, digest)


def test_a_bundle_that_misses_its_gates_is_kept_and_cannot_be_released(deploy: Deploy) -> None:
    checks = [
        {
            "name": "min_auroc",
            "limit": 0.9,
            "value": 0.8,
            "passed": False,
            "why": "0.8 is below 0.9",
        },
        {"name": "max_flips", "limit": 0.05, "value": 0.0, "passed": True, "why": "within"},
    ]
    data = archive(evaluation={"gates": {"passed": False, "checks": checks}})
    release = service.submit(deploy.services, "test", data)
    assert release.state == "built"
    with pytest.raises(StateError, match=r"min_auroc: 0\.8 is below 0\.9") as refused:
        service.to_sign(deploy.services, release.digest)
    assert "max_flips" not in str(refused.value)
    with pytest.raises(StateError, match="cannot be released"):
        service.sign(deploy.services, "test", release.digest, "keyid", "signature")
    # A person can still say that it is refused, and why.
    assert service.refuse(deploy.services, "test", release.digest, "gates").state == "refused"


def test_gates_that_passed_let_a_bundle_be_signed(deploy: Deploy) -> None:
    data = archive(evaluation={"gates": {"passed": True, "checks": []}})
    digest = service.submit(deploy.services, "test", data).digest
    assert deploy.sign(digest, PIPELINE).state == "awaiting_approval"


@pytest.mark.parametrize("gates", ["yes", {}, {"passed": 1}, []])
def test_gates_that_cannot_be_read_are_no_pass(deploy: Deploy, gates: object) -> None:
    digest = service.submit(deploy.services, "test", archive(evaluation={"gates": gates})).digest
    with pytest.raises(StateError, match="gates that did not pass"):
        service.to_sign(deploy.services, digest)


def test_the_same_key_twice_is_one_signature(deploy: Deploy) -> None:
    digest = service.submit(deploy.services, "test", archive()).digest
    deploy.sign(digest, PIPELINE)
    release = deploy.sign(digest, PIPELINE)
    assert (release.state, len(release.signed_by)) == ("awaiting_approval", 1)


def test_a_strange_key_may_not_approve(deploy: Deploy) -> None:
    release = service.submit(deploy.services, "test", archive())
    draft = (release.draft or "").encode()
    target = service.target_of(release)
    keyid, signature = sign_release(draft, target=target, signer=load_signer(generate_key()))
    with pytest.raises(TrustError, match="may not approve releases"):
        service.sign(deploy.services, "test", release.digest, keyid, signature)


def test_a_signature_of_something_else_is_refused(deploy: Deploy) -> None:
    first = service.submit(deploy.services, "test", archive(1))
    second = service.submit(deploy.services, "test", archive(2))
    keyid, signature = sign_release(
        (first.draft or "").encode(),
        target=service.target_of(first),
        signer=load_signer(deploy.key(PIPELINE)),
    )
    with pytest.raises(TrustError, match="does not fit"):
        service.sign(deploy.services, "test", second.digest, keyid, signature)


def test_a_draft_that_another_release_overtook_is_drafted_again(deploy: Deploy) -> None:
    slow = service.submit(deploy.services, "test", archive(1)).digest
    deploy.sign(slow, PIPELINE)
    fast = deploy.approved(seed=2)
    signer = load_signer(deploy.key(APPROVER)).public_key.keyid
    with pytest.raises(StateError, match="another release was published"):
        service.sign(deploy.services, "test", slow, signer, "00")
    release = service.to_sign(deploy.services, slow)
    assert (release.state, release.signed_by) == ("built", [])
    deploy.sign(slow, PIPELINE)
    assert deploy.sign(slow, APPROVER).state == "approved"
    assert deploy.services.trust.image.holds(LINE, fast)


def test_a_refused_release_takes_no_signature(deploy: Deploy) -> None:
    digest = service.submit(deploy.services, "test", archive()).digest
    service.refuse(deploy.services, "anna", digest, "wrong threshold")
    with pytest.raises(StateError, match="refused already"):
        deploy.sign(digest, PIPELINE)


def test_killed_between_signature_and_publishing_the_next_start_publishes(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = service.submit(deploy.services, "test", archive()).digest
    deploy.sign(digest, PIPELINE)
    with monkeypatch.context() as killed:
        killed.setattr(service, "publish_ready", _killed)
        with pytest.raises(KeyboardInterrupt):
            deploy.sign(digest, APPROVER)
    deploy.reopen()
    assert service.publish_ready(deploy.services) == [digest]
    assert deploy.services.trust.image.holds(LINE, digest)


def test_killed_between_publishing_and_the_mark_the_next_start_marks(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = service.submit(deploy.services, "test", archive()).digest
    deploy.sign(digest, PIPELINE)
    with monkeypatch.context() as killed:
        killed.setattr(service, "_mark_approved", _killed)
        with pytest.raises(KeyboardInterrupt):
            deploy.sign(digest, APPROVER)
    deploy.reopen()
    assert deploy.services.trust.image.holds(LINE, digest)
    assert service.publish_ready(deploy.services) == [digest]
    with deploy.services.database.read() as session:
        assert service.find_release(session, digest).state == "approved"


def test_a_digest_may_be_shortened_where_it_is_unique(deploy: Deploy) -> None:
    digest = deploy.approved()
    with deploy.services.database.read() as session:
        assert service.find_release(session, digest[:8]).digest == digest
        with pytest.raises(NotFoundError):
            service.find_release(session, "000000")


def test_every_act_is_in_the_audit_log(deploy: Deploy) -> None:
    digest = deploy.approved()
    with deploy.services.database.read() as session:
        acts = [entry.action for entry in entries(session, subject=digest)]
        assert verify(session).whole
    assert acts == ["release.approve", "release.sign", "release.sign", "release.submit"]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_digest_is_the_archives(deploy: Deploy) -> None:
    assert service.submit(deploy.services, "test", archive()).digest == archive_digest(archive())
