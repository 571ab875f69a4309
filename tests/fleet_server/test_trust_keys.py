"""Keys are replaced, and devices in the field follow: real repositories, real clients."""

import json
import shutil
from pathlib import Path

import pytest
from securesystemslib.signer import Key
from typer.testing import CliRunner

from fleet_contract.errors import ConfigError, LoupeError, ResourceError, StateError, TrustError
from fleet_contract.trust.approve import sign_release
from fleet_contract.trust.custom import DIRECTOR, IMAGE, target_name
from fleet_contract.trust.keys import (
    generate_key,
    is_encrypted,
    load_public,
    load_signer,
    public_pem,
)
from fleet_server.cli.server import app
from fleet_server.config import read_config
from fleet_server.serving import listen
from fleet_server.trust import keys as change_of_keys
from fleet_server.trust import rotation, setup
from fleet_server.trust.director import DirectorRepository
from fleet_server.trust.rotation import KeyChange
from tests.support.broker import free_port
from tests.support.trust import TrustBench, forge, image_custom


class Keys(TrustBench):
    """The bench, and a person with the offline keys."""

    @property
    def server(self) -> Path:
        return self.folder / "server"

    def draft(self, *online: str, **replace: str) -> KeyChange:
        """`replace`: name of an offline key (dashes as underscores) -> name of its successor."""
        change = change_of_keys.draft_change(
            self.server,
            replace={self.keyid(old): self.made(new) for old, new in replace.items()},
            online=online,
            clock=self.clock,
        )
        return KeyChange.from_bytes(change.to_bytes())

    def keyid(self, name: str) -> str:
        return load_signer(self.key(f"{name.replace('_', '-')}.pem")).public_key.keyid[:10]

    def made(self, name: str) -> Key:
        path = self.server / "offline" / f"{name}.pem"
        path.write_bytes(generate_key())
        return load_public(public_pem(path.read_bytes()))

    def sign(self, change: KeyChange, *names: str) -> KeyChange:
        for name in names:
            rotation.sign(change, load_signer(self.key(f"{name}.pem")))
        return change

    def bring_in(self, change: KeyChange) -> None:
        change_of_keys.publish(self.server, change, clock=self.clock)
        self.repositories = setup.open_repositories(self.server, clock=self.clock)
        self.repositories.check()


@pytest.fixture
def bench(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    made.assign("station-1", made.publish(b"bundle"), 6)
    return made


def test_a_device_follows_each_rotation_and_one_that_slept_follows_two(bench: Keys) -> None:
    awake, asleep = bench.client(), bench.client("station-2")
    [before] = awake.refresh()
    assert asleep.refresh() == []

    # The root keys' own: two of before and two of after sign.
    change = bench.draft(root_1="root-4", root_2="root-5")
    bench.bring_in(bench.sign(change, "root-1", "root-2", "root-4", "root-5"))
    assert [agreed.digest for agreed in awake.refresh()] == [before.digest]

    # All others at once, by the root keys of now.
    change = bench.draft(IMAGE, DIRECTOR, approver="approver-2")
    bench.bring_in(bench.sign(change, "root-4", "root-5", "pipeline", "approver-2"))
    assert [agreed.digest for agreed in awake.refresh()] == [before.digest]

    bench.assign("station-2", before.digest, 6)
    assert [agreed.digest for agreed in asleep.refresh()] == [before.digest]
    assert [agreed.digest for agreed in bench.client("station-3").refresh()] == []


def test_a_replaced_release_key_signs_no_more_and_the_new_one_does(bench: Keys) -> None:
    change = bench.draft(pipeline="pipeline-2")
    bench.bring_in(bench.sign(change, "root-1", "root-3", "pipeline-2", "approver"))
    image, content = bench.repositories.image, "c" * 64
    draft, target = image.draft(content, 5, image_custom()), target_name("watch-case", content)
    stolen = load_signer(bench.key("pipeline.pem"))
    with pytest.raises(TrustError, match="never signed by this key"):
        sign_release(draft, target=target, signer=stolen, previous=image.targets_bytes())
    with pytest.raises(TrustError, match="may not approve"):
        image.add_signature(draft, *sign_release(draft, target=target, signer=stolen))
    for name in ("pipeline-2.pem", "approver.pem"):
        signer, published = load_signer(bench.key(name)), image.targets_bytes()
        signed = sign_release(draft, target=target, signer=signer, previous=published)
        draft = image.add_signature(draft, *signed)
    image.publish(draft)
    assert len(bench.client().refresh()) == 1


def test_a_stolen_online_key_is_worth_nothing_after_its_rotation(bench: Keys) -> None:
    client, stolen = bench.client(), bench.online_key(DIRECTOR)
    client.refresh()
    change = bench.sign(bench.draft(DIRECTOR), "root-1", "root-2")
    bench.bring_in(change)
    client.refresh()
    folder = bench.server / "trust" / DIRECTOR / "station-1"
    forge(folder, stolen, bench.repositories.director.published("station-1").targets, version=99)
    with pytest.raises(TrustError, match="timestamp are signed by 0 of 1"):
        client.refresh()


def test_new_online_keys_bring_devices_back_to_a_server_from_a_backup(bench: Keys) -> None:
    client, backup = bench.client(), bench.folder / "backup"
    shutil.copytree(bench.server, backup)
    bench.assign("station-1", bench.publish(b"second"), 6)
    client.refresh()
    shutil.rmtree(bench.server)
    shutil.copytree(backup, bench.server)
    bench.repositories = setup.open_repositories(bench.server, clock=bench.clock)
    with pytest.raises(TrustError, match="restored from an old backup"):
        client.refresh()
    bench.bring_in(bench.sign(bench.draft(IMAGE, DIRECTOR), "root-2", "root-3"))
    assert len(client.refresh()) == 1


def test_a_change_needs_the_root_keys_of_before_and_of_after(bench: Keys) -> None:
    change = bench.draft(root_1="root-4", root_2="root-5")
    with pytest.raises(TrustError, match="has nothing to sign here"):
        bench.sign(change, "pipeline")
    bench.sign(change, "root-4", "root-5", "root-3")
    with pytest.raises(StateError, match="image root by the root keys of before: 1 of 2"):
        bench.bring_in(change)


def test_same_keys_get_metadata_that_expire_later(bench: Keys) -> None:
    client, before = bench.client(), bench.repositories.image.root().expires
    client.refresh()
    bench.clock.advance(300 * 86_400)
    bench.bring_in(bench.sign(bench.draft(), "root-1", "root-2", "pipeline", "approver"))
    assert (bench.repositories.image.root().expires - before).days == 300
    bench.repositories.director.renew("station-1")
    assert len(client.refresh()) == 1


def test_a_publication_that_was_killed_is_refused_at_the_start_and_done_again(
    bench: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = bench.sign(bench.draft(DIRECTOR), "root-1", "root-2")

    def die(_self: object, _device: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(DirectorRepository, "sign_again", die)
        with pytest.raises(KeyboardInterrupt):
            bench.bring_in(change)
    with pytest.raises(StateError, match="keys publish` again"):
        setup.open_repositories(bench.server, clock=bench.clock).check()
    bench.bring_in(change)
    bench.bring_in(change)
    assert len(bench.client().refresh()) == 1


def test_a_change_that_was_overtaken_is_not_brought_in(bench: Keys) -> None:
    change = bench.sign(bench.draft(pipeline="new"), "root-1", "root-2", "new", "approver")
    bench.publish(b"another")
    with pytest.raises(StateError, match="another release was published"):
        bench.bring_in(change)
    change = bench.sign(bench.draft(DIRECTOR), "root-1", "root-2")
    bench.draft(DIRECTOR)
    with pytest.raises(StateError, match="another next key"):
        bench.bring_in(change)
    assert len(bench.client().refresh()) == 1


def test_a_change_that_does_more_than_change_keys_is_not_signed(bench: Keys) -> None:
    change = bench.draft(pipeline="new")
    assert change.targets_after
    change.targets_after.signed.targets.clear()
    with pytest.raises(TrustError, match="changes bundles"):
        bench.sign(change, "approver")
    change = bench.draft()
    change.after[IMAGE].signed.roles["targets"].threshold = 1
    with pytest.raises(TrustError, match="how many keys sign"):
        bench.sign(change, "root-1")


def test_a_key_that_is_not_there_or_has_a_role_is_refused(bench: Keys) -> None:
    with pytest.raises(TrustError, match="no offline key has an id"):
        change_of_keys.draft_change(
            bench.server,
            replace={bench.online_key(IMAGE).public_key.keyid: bench.made("new")},
            online=(),
        )
    with pytest.raises(TrustError, match="has a role already"):
        change_of_keys.draft_change(
            bench.server,
            replace={bench.keyid("pipeline"): load_signer(bench.key("approver.pem")).public_key},
            online=(),
        )
    with pytest.raises(ConfigError, match="holds no change of keys"):
        KeyChange.from_bytes(b"{}")


def command(*words: object) -> str:
    """Standard output of `loupe-server`; a LoupeError comes through."""
    result = CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "200"})
    if isinstance(result.exception, LoupeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_keys_are_replaced_by_commands_and_encrypted(tmp_path: Path) -> None:
    folder, secret, change = tmp_path / "server", tmp_path / "secret", tmp_path / "change.json"
    secret.write_text("correct horse\n")
    ports = ("--http-port", free_port(), "--broker-port", free_port())
    command("init", folder, *ports, "--passphrase-file", secret)
    offline = folder / "offline"
    assert all(is_encrypted(path.read_bytes()) for path in offline.glob("*.pem"))

    fresh = tmp_path / "approver-2.pem"
    command("keys", "new", fresh, "--new-passphrase-file", secret)
    approver = load_signer((offline / "approver.pem").read_bytes(), b"correct horse")
    old = approver.public_key.keyid[:12]
    assert old in command("keys", "show", "--dir", folder)
    replacing = ("--replace", f"{old}={fresh.with_suffix('.pub')}", "--online", "director")
    told = command("keys", "draft", change, "--dir", folder, *replacing)
    assert f"{old} is replaced by" in told
    with pytest.raises(StateError, match="not signed by enough keys"):
        command("keys", "publish", change, "--dir", folder)
    for key in (offline / "root-1.pem", offline / "root-2.pem", offline / "pipeline.pem", fresh):
        told = command("keys", "sign", change, "--key", key, "--passphrase-file", secret)
    assert "Whole." in told

    config = read_config(folder)
    listener = listen(config.http.host, config.http.port)
    with pytest.raises(ResourceError, match="perhaps another Loupe server"):
        command("keys", "publish", change, "--dir", folder)
    listener.close()
    command("keys", "publish", change, "--dir", folder)
    shown = json.loads(command("keys", "show", "--dir", folder, "--json"))
    assert old not in json.dumps(shown)
    assert {row["root version"] for row in shown} == {"2"}
    setup.open_repositories(folder).check()


def test_a_passphrase_is_changed_and_a_wrong_one_is_said(tmp_path: Path) -> None:
    key, first, second = (tmp_path / name for name in ("key.pem", "first", "second"))
    first.write_text("one\n")
    second.write_text("two\n")
    key.write_bytes(generate_key())
    command("keys", "passphrase", key, "--new-passphrase-file", first)
    turn = ("--passphrase-file", first, "--new-passphrase-file", second)
    command("keys", "passphrase", key, *turn)
    with pytest.raises(ConfigError, match="the passphrase is wrong"):
        command("keys", "passphrase", key, *turn)
    with pytest.raises(ConfigError, match="is encrypted"):
        load_signer(key.read_bytes())
