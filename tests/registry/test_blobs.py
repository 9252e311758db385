import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.blobs import BATCH_BYTES, LocalBlobStore, open_blob_store
from registry.errors import BlobDamagedError, BlobMissingError, StorageFullError


def file_of(blobs, sha256):
    return blobs.root / "sha256" / sha256[:2] / sha256[2:]


def test_keeps_bytes_under_their_hash(blobs):
    sha256 = blobs.put(b"heron")
    assert sha256 == hashlib.sha256(b"heron").hexdigest()
    assert blobs.get(sha256) == b"heron"
    assert blobs.exists(sha256)
    assert blobs.size(sha256) == 5


def test_keeps_the_same_bytes_once(blobs):
    sha256 = blobs.put(b"heron")
    before = file_of(blobs, sha256).stat()
    assert blobs.put(b"heron") == sha256
    assert file_of(blobs, sha256).stat().st_ino == before.st_ino


def test_put_many_keeps_order_and_repeats(blobs):
    data = [b"a", b"b", b"a", b""]
    hashes = blobs.put_many(iter(data))
    assert [blobs.get(sha256) for sha256 in hashes] == data
    assert list((blobs.root / "tmp").iterdir()) == []


def test_put_many_writes_in_batches(blobs):
    data = [bytes([i]) * (BATCH_BYTES // 2 + 1) for i in range(3)]
    assert [blobs.size(sha256) for sha256 in blobs.put_many(data)] == [len(d) for d in data]


def test_put_many_leaves_nothing_half_done(blobs):
    def broken():
        yield b"fine"
        raise ValueError("sender went away")

    with pytest.raises(ValueError, match="went away"):
        blobs.put_many(broken())
    assert list((blobs.root / "tmp").iterdir()) == []
    assert not blobs.exists(hashlib.sha256(b"fine").hexdigest())


def test_many_threads_put_the_same(blobs):
    with ThreadPoolExecutor(8) as pool:
        hashes = set(pool.map(blobs.put, [b"same"] * 32))
    assert len(hashes) == 1
    assert blobs.get(hashes.pop()) == b"same"


def test_every_flipped_byte_is_noticed(blobs):
    data = os.urandom(64)
    sha256 = blobs.put(data)
    for i in range(len(data)):
        file_of(blobs, sha256).write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(BlobDamagedError):
            blobs.get(sha256)
    file_of(blobs, sha256).write_bytes(data[:-1])
    with pytest.raises(BlobDamagedError):
        blobs.get(sha256)


def test_missing_and_deleted(blobs):
    sha256 = blobs.put(b"gone")
    blobs.delete(sha256)
    blobs.delete(sha256)
    assert not blobs.exists(sha256)
    with pytest.raises(BlobMissingError):
        blobs.get(sha256)
    with pytest.raises(BlobMissingError):
        blobs.size(sha256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ab", "A" * 64, "g" * 64])
def test_a_name_that_is_no_hash_is_no_path(blobs, name):
    with pytest.raises(BlobMissingError):
        blobs.get(name)


def test_require_space(blobs):
    blobs.require_space(0, floor_bytes=0)
    with pytest.raises(StorageFullError):
        blobs.require_space(1 << 60, floor_bytes=0)
    with pytest.raises(StorageFullError):
        blobs.require_space(0, floor_bytes=1 << 60)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_so_and_harms_nothing(small_disk):
    blobs = LocalBlobStore(small_disk)
    kept = blobs.put(b"x" * 10_000)
    with pytest.raises(StorageFullError):
        blobs.put(os.urandom(100_000))
    assert list((small_disk / "tmp").iterdir()) == []
    assert blobs.get(kept) == b"x" * 10_000
    assert blobs.get(blobs.put(b"small enough")) == b"small enough"


def test_open_blob_store(tmp_path):
    for location in (str(tmp_path), tmp_path.as_uri()):
        assert open_blob_store(location).root == tmp_path
    for location in ("s3://bucket/x", "file://elsewhere/x"):
        with pytest.raises(ValueError, match="BLOB_URL"):
            open_blob_store(location)
