"""The device's TUF client behind the three commands of the tuf-conformance suite, over HTTP.

    tuf-client --metadata-dir DIR init ROOT
    tuf-client --metadata-dir DIR --metadata-url URL refresh
    tuf-client --metadata-dir DIR --metadata-url URL --target-name NAME --target-base-url URL
               --target-dir DIR download

Metadata, their floors and the time come by the code that devices run (`TrustedUpdater`). HTTP, and
downloading as one file, are for this command alone: devices fetch over MQTT, in blocks.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import httpx

from fleet_contract.clock import SystemClock
from fleet_contract.errors import TransferError, TrustError
from fleet_contract.trust.floor import read_floors
from fleet_contract.trust.updater import CONFIG, NotThere, TrustedUpdater

LIMIT_BYTES = CONFIG.targets_max_length + 1
"""No more is read of any answer; the client refuses what is too long by the limits of each role."""
TIMEOUT_S = 10.0
FIRST_ROOT = "first/root.json"
"""Within the metadata's folder, as the floors are: the suite looks at its top level alone."""


def fetch(url: str) -> bytes:
    """The bytes behind `url`, LIMIT_BYTES at most. Raises NotThere for 403 and 404, TransferError."""
    received = bytearray()
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT_S, trust_env=False) as answer:
            if answer.status_code in (403, 404):
                raise NotThere(f"the server has no {url}")
            answer.raise_for_status()
            for piece in answer.iter_raw():
                received += piece
                if len(received) >= LIMIT_BYTES:
                    break
    except httpx.HTTPError as error:
        raise TransferError(f"{url} did not arrive: {error}") from error
    return bytes(received)


def init(metadata: Path, root: Path) -> None:
    """Keeps the root that everything begins with."""
    (metadata / FIRST_ROOT).parent.mkdir(parents=True, exist_ok=True)
    for name in (FIRST_ROOT, "root.json"):
        shutil.copyfile(root, metadata / name)


def refreshed(metadata: Path, url: str) -> TrustedUpdater:
    """The client after a refresh from `url`. Raises TrustError, TransferError."""
    floors = metadata / "floors"
    floors.mkdir(exist_ok=True)
    updater = TrustedUpdater(
        metadata,
        url,
        (metadata / FIRST_ROOT).read_bytes(),
        fetch,
        floors=floors,
        now_s=max(SystemClock().time(), read_floors(floors).time_s),
        config=replace(CONFIG, prefix_targets_with_hash=True),
    )
    updater.refresh()
    return updater


def download(updater: TrustedUpdater, name: str, base: str, folder: Path) -> None:
    """Brings target `name` into `folder`, unless it is there. Raises TrustError where it is none."""
    target = updater.get_targetinfo(name)
    if target is None:
        raise TrustError(f"the repository has no {name}")
    path = folder / name.replace("/", "%2F")
    if updater.find_cached_target(target, str(path)) is None:
        updater.download_target(target, str(path), base)


def main() -> None:
    """Entry point. Any failure ends with exit code 1 and a traceback, for whoever runs the suite."""
    parser = argparse.ArgumentParser(prog="tuf-client")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args()
    if given.command == "init":
        init(given.metadata_dir, given.root)
        return
    updater = refreshed(given.metadata_dir, given.metadata_url)
    for name in given.target_name:
        download(updater, name, given.target_base_url, given.target_dir)


if __name__ == "__main__":
    main()
