"""Facts about the broker, by what is delivered: a SUBACK says nothing about the access list."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_contract.errors import ConfigError, ResourceError
from fleet_contract.topics import build
from fleet_server.broker import prepare_broker, render_acl, start_broker
from fleet_server.pki import Kind, issue, revoke
from tests.support.broker import Pki, TestBroker, free_port
from tests.support.client import Peer, peer
from tests.support.wait import eventually

MARK = b"the last message"


@pytest.fixture
def server(broker: TestBroker) -> Iterator[Peer]:
    with peer(broker, "server") as made:
        made.subscribe("loupe/v1/dev/+/up/#")
        yield made


def got(who: Peer, payload: bytes) -> bool:
    return any(body == payload for _, body in who.received)


def test_what_a_device_says_reaches_the_server(broker: TestBroker, server: Peer) -> None:
    with peer(broker, "acl-a") as device:
        device.publish(build("heartbeat", device="acl-a"), b"beat")
        eventually(lambda: got(server, b"beat"), 10, "the heartbeat arrives")
    assert (build("heartbeat", device="acl-a"), b"beat") in server.received


@pytest.mark.parametrize(
    "filters", [["loupe/v1/dev/acl-b/down/#"], ["loupe/v1/dev/+/down/#"], ["#"], ["+/+/+/+/#"]]
)
def test_a_device_does_not_hear_another(
    broker: TestBroker, server: Peer, filters: list[str]
) -> None:
    own, foreign = build("cmd", device="acl-a"), build("cmd", device="acl-b")
    with peer(broker, "acl-a") as spy, peer(broker, "acl-b") as other:
        spy.subscribe(*filters, own)
        other.publish(build("heartbeat", device="acl-b"), b"private")
        server.publish(foreign, b"private")
        server.publish(own, MARK)
        eventually(lambda: got(spy, MARK), 10, "the device's own message arrives")
        assert {topic for topic, _ in spy.received} == {own}


@pytest.mark.parametrize(
    "topic",
    [
        build("heartbeat", device="acl-b"),
        build("cmd", device="acl-b"),
        build("cmd", device="acl-a"),
        "loupe/v1/all/bundle/" + "0" * 64 + "/0",
        "elsewhere",
    ],
)
def test_a_device_cannot_speak_as_another_nor_as_the_server(
    broker: TestBroker, server: Peer, topic: str
) -> None:
    with peer(broker, "acl-a") as device, peer(broker, "acl-b") as other:
        device.subscribe("loupe/v1/dev/acl-a/down/#", "loupe/v1/all/#")
        other.subscribe("loupe/v1/dev/acl-b/down/#", "loupe/v1/all/#")
        device.publish(topic, b"forged")
        device.publish(build("heartbeat", device="acl-a"), MARK)
        eventually(lambda: got(server, MARK), 10, "the device's own message arrives")
        server.publish(build("cmd", device="acl-b"), MARK)
        eventually(lambda: got(other, MARK), 10, "the other device's message arrives")
        assert not any(got(who, b"forged") for who in (server, device, other))


def test_every_device_hears_what_is_for_all(broker: TestBroker, server: Peer) -> None:
    topic = build("bundle", digest="a" * 64, n=3)
    with peer(broker, "acl-a") as one, peer(broker, "acl-b") as two:
        for device in (one, two):
            device.subscribe(f"loupe/v1/all/bundle/{'a' * 64}/+")
        server.publish(topic, b"block")
        eventually(lambda: (topic, b"block") in one.received, 10, "the block reaches one")
        eventually(lambda: (topic, b"block") in two.received, 10, "the block reaches two")


def test_a_consumer_reads_what_devices_say_and_says_nothing(fresh_broker: TestBroker) -> None:
    # A broker of its own: what other tests retained is none of this one's.
    with (
        peer(fresh_broker, "server") as server,
        peer(fresh_broker, "consumer.grafana") as consumer,
        peer(fresh_broker, "acl-a") as device,
    ):
        consumer.subscribe("#")
        device.subscribe("loupe/v1/dev/acl-a/down/#")
        consumer.publish(build("cmd", device="acl-a"), b"forged")
        server.publish(build("cmd", device="acl-a"), MARK)
        device.publish(build("heartbeat", device="acl-a"), b"beat")
        eventually(lambda: got(consumer, b"beat"), 10, "the heartbeat arrives")
        eventually(lambda: got(device, MARK), 10, "the command arrives")
        assert not got(device, b"forged")
        assert {topic for topic, _ in consumer.received} == {build("heartbeat", device="acl-a")}


def test_the_last_will_is_sent_when_a_device_vanishes(broker: TestBroker, server: Peer) -> None:
    link = build("link", device="acl-will")
    device = Peer(broker, "acl-will")
    device.client.will_set(link, b"offline", qos=1, retain=True)
    device.connect()
    device.publish(link, b"online", retain=True)
    device.drop()
    eventually(lambda: (link, b"offline") in server.received, 20, "the will arrives")


def test_the_client_id_is_the_certificates_name_whatever_the_client_says(
    broker: TestBroker,
) -> None:
    with peer(broker, "acl-a") as victim:
        with peer(broker, "acl-b", client_id="acl-a"):
            assert victim.client.is_connected()
        assert victim.disconnections == 0


def test_a_second_connection_of_one_device_takes_over_the_first(broker: TestBroker) -> None:
    with peer(broker, "acl-twice") as first, peer(broker, "acl-twice", client_id="other"):
        eventually(lambda: first.disconnections > 0, 10, "the first connection is ended")


def handshake(broker: TestBroker, certificate: Path | None, key: Path | None) -> bytes:
    """What the broker answers to a CONNECT; it closes the connection where it refuses."""
    context = ssl.create_default_context(cafile=str(broker.ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    connect = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x0a\x00\x03abc"
    with (
        socket.create_connection((broker.host, broker.port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(connect)
        return tls.recv(4)


def test_a_certificate_of_our_authority_is_let_in(broker: TestBroker) -> None:
    assert handshake(broker, *broker.credentials("acl-a")) == b"\x20\x02\x00\x00"


def refused(broker: TestBroker, certificate: Path | None, key: Path | None) -> bool:
    try:
        return handshake(broker, certificate, key) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_a_client_without_a_certificate_is_refused(broker: TestBroker) -> None:
    assert refused(broker, None, None)


def test_a_certificate_of_another_authority_is_refused(broker: TestBroker, tmp_path: Path) -> None:
    assert refused(broker, *Pki(tmp_path / "foreign").credentials("acl-a"))


def test_the_brokers_own_certificate_is_no_clients(broker: TestBroker) -> None:
    assert refused(broker, broker.pki.folder / "broker.crt", broker.pki.folder / "broker.key")


def test_a_revoked_certificate_is_refused_after_a_restart(tmp_path: Path) -> None:
    own = TestBroker(tmp_path / "broker", Pki(tmp_path / "pki"))
    certificate, key = own.credentials("gone")
    own.start()
    try:
        assert not refused(own, certificate, key)
        own.stop()
        revoke(own.pki.folder, certificate.read_bytes())
        own.start()
        assert refused(own, certificate, key)
        assert not refused(own, *own.credentials("stays"))
    finally:
        own.stop()


def test_retained_messages_outlive_the_broker(fresh_broker: TestBroker) -> None:
    topic = build("desired", device="acl-a")
    with peer(fresh_broker, "server") as server:
        server.publish(topic, b"version 7", retain=True)
    fresh_broker.stop()
    fresh_broker.start()
    with peer(fresh_broker, "acl-a") as device:
        device.subscribe(topic)
        eventually(lambda: got(device, b"version 7"), 10, "the retained hint arrives")


def test_a_port_that_is_taken_is_said(broker: TestBroker) -> None:
    with pytest.raises(ResourceError, match=rf"cannot listen on 127.0.0.1:{broker.port}"):
        start_broker(broker.config)


def test_a_missing_mosquitto_is_said_with_what_to_do(
    broker: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_server.broker.process.shutil.which", lambda *_, **__: None)
    with pytest.raises(ResourceError, match="sudo apt-get install mosquitto"):
        start_broker(broker.config)


def test_a_configuration_that_mosquitto_refuses_is_said_with_its_own_words(
    tmp_path: Path, pki: Pki
) -> None:
    own = TestBroker(tmp_path / "broker", pki)
    own.config.write_text(own.config.read_text() + "no_such_setting 1\n")
    with pytest.raises(ResourceError, match="no_such_setting"):
        own.start()


def test_a_missing_configuration_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loupe-server init"):
        start_broker(tmp_path / "mosquitto.conf")


def verified_host(config: Path, pki: Path, address: str, port: int) -> str:
    """The subject of the broker's certificate, where it holds for `address` and somebody listens."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    issue(pki, "probe", Kind.DEVICE).save(pki / "probe.crt", pki / "probe.key")
    context.load_cert_chain(pki / "probe.crt", pki / "probe.key")
    running = start_broker(config)
    try:
        with (
            socket.create_connection((address, port), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=address) as tls,
        ):
            certificate = tls.getpeercert() or {}
            return str(certificate["subject"])
    finally:
        running.stop()


def test_other_machines_reach_the_broker_under_the_name_that_was_given(tmp_path: Path) -> None:
    port = free_port()
    config = prepare_broker(tmp_path / "broker", tmp_path / "pki", port=port, reachable="127.0.0.2")
    assert "broker" in verified_host(config, tmp_path / "pki", "127.0.0.2", port)


def test_without_a_name_the_broker_listens_on_loopback_alone(tmp_path: Path) -> None:
    port = free_port()
    config = prepare_broker(tmp_path / "broker", tmp_path / "pki", port=port)
    with pytest.raises(ConnectionRefusedError):
        verified_host(config, tmp_path / "pki", "127.0.0.2", port)


def test_a_host_that_is_none_is_refused_before_a_key_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no host"):
        prepare_broker(tmp_path / "broker", tmp_path / "pki", port=1883, reachable="a b")
    assert not (tmp_path / "pki" / "broker.key").exists()


def test_preparing_again_keeps_the_brokers_key(tmp_path: Path, pki: Pki) -> None:
    own = TestBroker(tmp_path / "broker", pki)
    key = (pki.folder / "broker.key").read_bytes()
    prepare_broker(tmp_path / "broker", pki.folder, port=own.port)
    assert (pki.folder / "broker.key").read_bytes() == key


@pytest.mark.parametrize("name", ["station-1", "consumer.+", "consumer.a\ntopic write #"])
def test_a_consumer_whose_name_would_reach_further_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a consumer"):
        render_acl([name])
