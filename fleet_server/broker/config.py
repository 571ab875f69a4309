"""The broker's configuration and access list, rendered.

Who connects is known by certificate alone: its common name is the user name and the client id, so
nobody takes over another's session. See mosquitto.conf(5).
"""

from collections.abc import Iterable
from pathlib import Path

from fleet_contract.errors import ConfigError
from fleet_contract.topics import PREFIX
from fleet_server.pki import Kind, create_ca, issue, write_private
from fleet_server.pki.authority import CA_CERTIFICATE, CA_CRL, check_name

CONFIG, ACL, DATA = "mosquitto.conf", "acl", "data"
_MIB = 2**20


def render_acl(consumers: Iterable[str] = ()) -> str:
    """The access list; each of `consumers` (names like `consumer.grafana`) may read what devices say.

    Only `pattern` lines reach devices: a `topic` line outside a `user` block is for anonymous
    clients, of whom there are none.
    """
    lines = [
        "user server",
        f"topic read {PREFIX}/dev/+/up/#",
        f"topic write {PREFIX}/dev/+/down/#",
        f"topic write {PREFIX}/all/#",
    ]
    for name in consumers:
        check_name(name, Kind.CONSUMER)
        lines += ["", f"user {name}", f"topic read {PREFIX}/dev/+/up/#"]
    lines += [
        "",
        "# Every device, by the name in its certificate.",
        f"pattern write {PREFIX}/dev/%u/up/#",
        f"pattern read {PREFIX}/dev/%u/down/#",
        f"pattern read {PREFIX}/all/#",
    ]
    return "\n".join(lines) + "\n"


def render_config(folder: Path, pki: Path, *, port: int, host: str) -> str:
    """`mosquitto.conf` for a broker whose files lie in `folder`; every path in it is absolute."""
    settings: list[tuple[str, object]] = [
        ("listener", f"{port} {host}"),
        ("cafile", pki / CA_CERTIFICATE),
        ("certfile", pki / "broker.crt"),
        ("keyfile", pki / "broker.key"),
        ("crlfile", pki / CA_CRL),
        ("require_certificate", "true"),
        ("use_identity_as_username", "true"),
        ("use_username_as_clientid", "true"),
        ("allow_anonymous", "false"),
        ("acl_file", folder / ACL),
        ("persistence", "true"),
        ("persistence_location", f"{folder / DATA}/"),
        ("autosave_interval", 30),
        ("max_packet_size", _MIB),
        ("set_tcp_nodelay", "true"),
        # Past these a message is dropped without a word: wide enough for the server to be away.
        ("max_queued_messages", 100_000),
        ("max_queued_bytes", 256 * _MIB),
        ("max_inflight_messages", 100),
        ("persistent_client_expiration", "30d"),
        # Started as root, mosquitto would become a user who cannot read the keys; started as
        # anybody else it does not look at this.
        ("user", "root"),
        ("log_dest", "stderr"),
        ("log_type", "error"),
        ("log_type", "warning"),
        ("log_type", "notice"),
        ("log_type", "information"),
    ]
    return "\n".join(f"{key} {value}" for key, value in settings) + "\n"


def prepare_broker(
    folder: Path,
    pki: Path,
    *,
    port: int,
    reachable: str = "",
    consumers: Iterable[str] = (),
) -> Path:
    """Writes the broker's certificate (into `pki`), configuration, access list and data folder.

    `reachable`: the name or address by which devices on other machines reach the broker; with it the
    broker listens on every interface, without it on loopback alone. Returns the path of the configuration. Running it again renders the files anew and keeps the
    keys and the data. Raises ConfigError for a port that cannot be one.
    """
    if not 1 <= port <= 65535:
        raise ConfigError(
            "the broker's port cannot be used", expected="1 to 65535", found=f"{port}"
        )
    folder, pki = folder.resolve(), pki.resolve()
    (folder / DATA).mkdir(parents=True, exist_ok=True, mode=0o700)
    create_ca(pki)
    if not (pki / "broker.key").exists():
        issue(pki, "broker", Kind.BROKER, reachable=reachable).save(
            pki / "broker.crt", pki / "broker.key"
        )
    host = "0.0.0.0" if reachable else "127.0.0.1"
    config = render_config(folder, pki, port=port, host=host)
    write_private(folder / ACL, render_acl(consumers).encode(), replace=True)
    write_private(folder / CONFIG, config.encode(), replace=True)
    return folder / CONFIG
