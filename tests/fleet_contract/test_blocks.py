import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fleet_contract import blocks
from fleet_contract.errors import TransferError

SIZE = 1024


def _hashes(data: bytes) -> blocks.BlockHashes:
    raw = blocks.hash_list(data, SIZE)
    return blocks.BlockHashes.verified(
        raw, digest=blocks.sha256(raw), length=len(data), block_size=SIZE
    )


@given(st.binary(min_size=1, max_size=5000))
def test_every_block_is_known_as_right_and_the_blocks_are_the_data(data: bytes) -> None:
    hashes = _hashes(data)
    parts = [blocks.block(data, index, SIZE) for index in range(hashes.count)]
    assert all(hashes.right(index, part) for index, part in enumerate(parts))
    assert b"".join(parts) == data


@given(st.binary(min_size=1, max_size=5000), st.data())
def test_a_flipped_byte_is_known_at_once(data: bytes, draw: st.DataObject) -> None:
    hashes = _hashes(data)
    index = draw.draw(st.integers(0, hashes.count - 1))
    part = bytearray(blocks.block(data, index, SIZE))
    position = draw.draw(st.integers(0, len(part) - 1))
    part[position] ^= 1
    assert not hashes.right(index, bytes(part))


def test_an_index_outside_and_another_length_are_wrong_blocks() -> None:
    hashes = _hashes(b"x" * 3000)
    assert not hashes.right(3, b"")
    assert not hashes.right(-1, b"x" * SIZE)
    assert not hashes.right(0, b"x" * (SIZE - 1))


def test_a_list_of_hashes_that_was_not_signed_is_refused() -> None:
    raw = blocks.hash_list(b"x" * 3000, SIZE)
    for forged in (raw[:-1], raw + b"\0", b"\0" * len(raw)):
        with pytest.raises(TransferError, match="not the signed one"):
            blocks.BlockHashes.verified(
                forged, digest=blocks.sha256(raw), length=3000, block_size=SIZE
            )


@given(st.binary(max_size=5000))
def test_compression_gives_the_bytes_back(data: bytes) -> None:
    assert blocks.decompress(blocks.compress(data), len(data)) == data


def test_output_is_capped_at_the_signed_length() -> None:
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 50_000_000)
    with pytest.raises(TransferError, match="another length"):
        blocks.decompress(bomb, 1000)


@pytest.mark.parametrize("data", [b"", b"not zstandard", blocks.compress(b"x" * 999)[:-3]])
def test_broken_frames_are_refused(data: bytes) -> None:
    with pytest.raises(TransferError):
        blocks.decompress(data, 999)
