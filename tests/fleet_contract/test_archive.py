import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_contract import archive as archives
from fleet_contract.errors import BundleError
from fleet_contract.manifest import MANIFEST, parse_manifest
from tests.fleet_contract import bundles

WHOLE = bundles.archive()


def test_the_same_bundle_is_the_same_bytes() -> None:
    assert bundles.archive() == WHOLE
    assert archives.digest(WHOLE) == hashlib.sha256(WHOLE).hexdigest()


def test_reading_gives_back_what_was_packed() -> None:
    manifest, files = archives.read(WHOLE)
    assert (manifest, files) == (bundles.manifest(), bundles.files())


@given(st.integers(0, len(WHOLE) - 1))
@settings(max_examples=200)
def test_an_archive_cut_at_any_byte_is_refused(length: int) -> None:
    with pytest.raises(BundleError):
        archives.read(WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
@settings(max_examples=200)
def test_a_flipped_byte_never_gives_another_bundle(position: int, flip: int) -> None:
    flipped = bytearray(WHOLE)
    flipped[position] ^= flip
    try:
        manifest, files = archives.read(bytes(flipped))
    except BundleError:
        return
    # What tar ignores (an owner's name, padding) may differ; the digest of the archive shows it.
    assert files == bundles.files()
    assert archives.digest(bytes(flipped)) != archives.digest(WHOLE)
    assert manifest.line


@given(st.binary(max_size=2000))
def test_random_bytes_are_no_bundle(data: bytes) -> None:
    with pytest.raises(BundleError):
        archives.read(data)


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/../../b", "a//b", "./a"])
def test_a_path_that_climbs_out_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="climbs out"):
        archives.read(_tar([(tarfile.TarInfo(name), b"x")]))


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/../b", "a\\..\\b"])
def test_a_manifest_that_lists_a_path_outside_is_refused(name: str) -> None:
    raw = bundles.manifest().model_dump_json().replace("reference.json", name.replace("\\", "\\\\"))
    with pytest.raises(BundleError, match="not valid"):
        parse_manifest(raw.encode())


def test_a_link_is_refused() -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(BundleError, match="regular file"):
        archives.read(_tar([(link, b"")]))


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(BundleError, match="twice"):
        archives.read(_tar([(tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a"), b"2")]))


def test_a_missing_and_an_unlisted_file_are_refused() -> None:
    manifest = (tarfile.TarInfo(MANIFEST), bundles.manifest().model_dump_json().encode())
    with pytest.raises(BundleError, match="differ"):
        archives.read(_tar([manifest]))
    extra = [(tarfile.TarInfo(name), data) for name, data in bundles.files().items()]
    with pytest.raises(BundleError, match="differ"):
        archives.read(_tar([manifest, *extra, (tarfile.TarInfo("more"), b"")]))


def test_unpacking_is_whole_or_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    with pytest.raises(BundleError):
        archives.unpack(WHOLE[:-2000], folder)
    assert list(tmp_path.iterdir()) == []
    archives.unpack(WHOLE, folder)
    assert archives.load_folder(folder) == bundles.manifest()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_file_changed_after_unpacking_is_found(tmp_path: Path) -> None:
    archives.unpack(WHOLE, tmp_path / "bundle")
    (tmp_path / "bundle/golden/0.png").write_bytes(b"other")
    with pytest.raises(BundleError, match="changed after unpacking"):
        archives.load_folder(tmp_path / "bundle")


def test_an_unpacked_bundle_has_its_archives_digest_until_any_byte_is_changed(
    tmp_path: Path,
) -> None:
    archives.unpack(WHOLE, tmp_path / "bundle")
    assert archives.folder_digest(tmp_path / "bundle") == archives.digest(WHOLE)
    manifest = tmp_path / "bundle" / MANIFEST
    manifest.write_text(manifest.read_text().replace("\n", "\n ", 1))
    assert archives.folder_digest(tmp_path / "bundle") != archives.digest(WHOLE)
    manifest.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        archives.folder_digest(tmp_path / "bundle")
