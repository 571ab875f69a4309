"""The conformance suite's commands against our own image repository, over a real HTTP server."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.exceptions import LengthOrHashMismatchError

from fleet_contract.errors import TransferError, TrustError
from fleet_contract.trust.custom import target_name
from tests.conformance import tuf_client
from tests.support.trust import TrustBench


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are no output of a test."""


@pytest.fixture
def bench(tmp_path: Path) -> TrustBench:
    return TrustBench(tmp_path)


@pytest.fixture
def url(bench: TrustBench) -> Iterator[str]:
    folder = bench.folder / "server" / "trust"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def metadata(bench: TrustBench, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tuf_client, "SystemClock", lambda: bench.clock)
    folder = bench.folder / "metadata"
    tuf_client.init(folder, bench.folder / "server" / "trust" / "image" / "1.root.json")
    return folder


def test_a_target_is_downloaded_once_and_verified(
    bench: TrustBench, url: str, metadata: Path
) -> None:
    name = target_name("watch-case", bench.publish(b"bundle"))
    digest = name.split("/")[1].removesuffix(".tar")
    served = bench.folder / "server" / "trust" / "watch-case" / f"{digest}.{digest}.tar"
    served.parent.mkdir()
    served.write_bytes(b"forged")
    downloads = bench.folder / "downloads"
    with pytest.raises(LengthOrHashMismatchError):
        tuf_client.download(tuf_client.refreshed(metadata, f"{url}/image"), name, url, downloads)
    served.write_bytes(b"bundle")
    tuf_client.download(tuf_client.refreshed(metadata, f"{url}/image"), name, url, downloads)
    assert [path.read_bytes() for path in downloads.iterdir()] == [b"bundle"]
    served.unlink()
    tuf_client.download(tuf_client.refreshed(metadata, f"{url}/image"), name, url, downloads)
    with pytest.raises(TrustError, match="has no watch-case/none"):
        tuf_client.download(
            tuf_client.refreshed(metadata, f"{url}/image"), "watch-case/none", url, downloads
        )


def test_a_server_that_is_not_there_is_a_transfer_error(metadata: Path) -> None:
    with pytest.raises(TransferError, match="did not arrive"):
        tuf_client.refreshed(metadata, "http://127.0.0.1:9/image")
