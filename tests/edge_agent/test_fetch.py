"""Fetching: every block verified, resumed where it stopped, and a full disk leaves nothing behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.update.bundles import BundleStore, DiskFullError
from edge_agent.update.fetch import Cancelled, Fetcher
from edge_agent.update.target import Target
from fleet_contract import blocks
from fleet_contract.errors import BundleError, TransferError
from fleet_contract.messages import Request
from fleet_contract.trust.custom import Assignment, Encoding, ImageCustom
from tests.support.tiny_bundle import TinySpec, tiny_bundle

BLOCK = 1024


class Wire:
    """A transport that gives what it is told to, block by block."""

    def __init__(self, archive: bytes) -> None:
        self.encoded = blocks.compress(archive)
        self.hashes = blocks.hash_list(self.encoded, BLOCK)
        self.sent = {
            index: blocks.block(self.encoded, index, BLOCK)
            for index in range(blocks.block_count(len(self.encoded), BLOCK))
        }
        self.broadcast_blocks: list[int] = []
        self.asked: list[int] = []
        self.fail_after: int | None = None
        self._receive: Callable[[int, bytes], None] | None = None

    def request(self, request: Request) -> bytes:
        if request.op == "hashes":
            return self.hashes
        if request.op == "join":
            assert self._receive is not None
            for index in self.broadcast_blocks:
                self._receive(index, self.sent[index])
            return b""
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise TransferError("cut off")
        self.asked += request.blocks
        return b"".join(self.sent[index] for index in request.blocks)

    @contextmanager
    def broadcast(self, digest: str, receive: Callable[[int, bytes], None]) -> Iterator[None]:
        assert digest == blocks.sha256(self.encoded)
        self._receive = receive
        yield
        self._receive = None


class Bench:
    def __init__(self, folder: Path) -> None:
        self.digest, archive = tiny_bundle(TinySpec())
        self.wire = Wire(archive)
        self.store = BundleStore(folder, 0)
        self.target = self.make_target(len(archive), self.digest)
        self.fetcher = Fetcher(self.wire, self.store, quiet_s=0.0)

    def make_target(self, length: int, sha256: str) -> Target:
        encoding = Encoding(
            kind="zstd", digest=blocks.sha256(self.wire.encoded), length=len(self.wire.encoded),
            block_size=BLOCK, hashes_digest=blocks.sha256(self.wire.hashes),
        )  # fmt: skip
        return Target(
            line="watch-case", digest=self.digest, length=length, sha256=sha256,
            assignment=Assignment(line="watch-case", slot="active", rollout="r", attempt=1),
            image=ImageCustom(line="watch-case", epoch=1, hardware=["*"], encodings=[encoding]),
        )  # fmt: skip

    def fetch(self) -> dict[str, float]:
        return self.fetcher.fetch(self.target, lambda: False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_broadcast_alone_is_enough(bench: Bench) -> None:
    bench.wire.broadcast_blocks = list(bench.wire.sent)
    numbers = bench.fetch()
    assert (numbers["broadcast"], numbers["unicast"]) == (len(bench.wire.sent), 0)
    bench.store.unpack(bench.digest)
    assert bench.store.intact(bench.digest)


def test_what_the_broadcast_missed_is_asked_for(bench: Bench) -> None:
    bench.wire.broadcast_blocks = [0, 2]
    bench.fetch()
    assert bench.wire.asked == [n for n in bench.wire.sent if n not in (0, 2)]


def test_an_interrupted_transfer_goes_on_where_it_stopped(bench: Bench) -> None:
    bench.wire.broadcast_blocks, bench.wire.fail_after = [0, 1, 2], 0
    with pytest.raises(TransferError, match="cut off"):
        bench.fetch()
    bench.wire.broadcast_blocks, bench.wire.fail_after = [], None
    numbers = bench.fetch()
    assert numbers["resumed"] == 3
    assert not {0, 1, 2} & set(bench.wire.asked)


def test_a_torn_block_in_the_part_file_is_fetched_again(bench: Bench) -> None:
    bench.wire.broadcast_blocks, bench.wire.fail_after = [0, 1, 2], 0
    with pytest.raises(TransferError):
        bench.fetch()
    part = next(bench.store.incoming.glob("*.part"))
    data = bytearray(part.read_bytes())
    data[BLOCK + 5] ^= 1
    part.write_bytes(data)
    bench.wire.broadcast_blocks, bench.wire.fail_after = [], None
    assert bench.fetch()["resumed"] == 2
    assert bench.store.archive_path(bench.digest).exists()


def test_a_wrong_block_is_named_after_three_answers_and_nothing_is_left(bench: Bench) -> None:
    bench.wire.sent[1] = b"\0" * BLOCK
    with pytest.raises(BundleError, match="block 1 of"):
        bench.fetch()
    assert not list(bench.store.incoming.glob("*.part"))


def test_a_block_of_another_length_counts_as_wrong_too(bench: Bench) -> None:
    bench.wire.sent[1] = b"short"
    with pytest.raises(BundleError, match="came wrong"):
        bench.fetch()


def test_hashes_that_were_not_signed_are_refused(bench: Bench) -> None:
    bench.wire.hashes = b"\0" * len(bench.wire.hashes)
    with pytest.raises(TransferError, match="not the signed one"):
        bench.fetch()


def test_an_archive_that_is_not_the_target_is_refused(bench: Bench) -> None:
    bench.wire.broadcast_blocks = list(bench.wire.sent)
    bench.target = bench.make_target(bench.target.length, "0" * 64)
    with pytest.raises(BundleError, match="not the target"):
        bench.fetch()


def test_output_is_capped_at_the_targets_length(bench: Bench) -> None:
    bench.wire.broadcast_blocks = list(bench.wire.sent)
    bench.target = bench.make_target(100, bench.digest)
    with pytest.raises(BundleError, match="does not decode"):
        bench.fetch()


def test_another_assignment_cancels_and_keeps_what_came(bench: Bench) -> None:
    with pytest.raises(Cancelled):
        bench.fetcher.fetch(bench.target, lambda: True)
    encoding = bench.target.image.encodings[0].digest
    bench.store.clean(set(), {encoding})
    assert list(bench.store.incoming.glob("*.part"))
    bench.store.clean(set(), set())
    assert not list(bench.store.incoming.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.fetcher = Fetcher(bench.wire, BundleStore(tmp_path, 10**18), quiet_s=0.0)
    with pytest.raises(DiskFullError, match="bytes free"):
        bench.fetch()
    assert not list(bench.store.incoming.iterdir())
