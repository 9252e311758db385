"""Every store keeps the same contract; and what is so of folders alone."""

import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from registry.blobs import s3 as s3_blobs
from registry.blobs.store import LocalBlobStore
from registry.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobStoreUnavailableError,
    StorageFullError,
)

ABSENT = "0" * 64
LATER = datetime.now(UTC) + timedelta(days=2)
LONG_AGO = datetime.now(UTC) - timedelta(days=2)


def modified(store, sha256):
    return next(info.modified for info in store.listing() if info.sha256 == sha256)


def test_keeps_bytes_under_their_hash(store):
    sha256 = store.put(b"heron")
    assert sha256 == hashlib.sha256(b"heron").hexdigest()
    assert store.get(sha256) == b"heron"
    assert store.exists(sha256)
    assert store.size(sha256) == 5


def test_put_many_keeps_order_and_repeats(store):
    data = [b"a", b"b", b"a", b""]
    hashes = store.put_many(iter(data))
    assert [store.get(sha256) for sha256 in hashes] == data
    assert store.put_many([]) == []
    assert sum(1 for _ in store.listing()) == 3


def test_put_many_writes_in_batches(store, monkeypatch):
    for module in ("registry.blobs.store", "registry.blobs.s3"):
        monkeypatch.setattr(sys.modules[module], "BATCH_BYTES", 1000)
    data = [bytes([i]) * 501 for i in range(3)]
    assert [store.size(sha256) for sha256 in store.put_many(data)] == [len(d) for d in data]


def test_put_many_takes_more_blobs_than_one_batch(store, monkeypatch):
    monkeypatch.setattr(s3_blobs, "BATCH_BLOBS", 4)
    data = [str(i).encode() for i in range(12)]
    hashes = store.put_many(data)
    assert hashes == [hashlib.sha256(d).hexdigest() for d in data]
    assert store.missing([*hashes, ABSENT]) == {ABSENT}


def test_put_many_passes_on_what_its_source_raises(store):
    def broken():
        yield b"fine"
        raise ValueError("sender went away")

    with pytest.raises(ValueError, match="went away"):
        store.put_many(broken())


def test_many_threads_put_the_same(store):
    with ThreadPoolExecutor(8) as pool:
        hashes = set(pool.map(store.put, [b"same"] * 32))
    assert len(hashes) == 1
    assert store.get(hashes.pop()) == b"same"


def test_damage_is_noticed(place):
    sha256 = place.store.put(b"heron")
    for damaged in (b"heroN", b"hero", b"", b"heron "):
        place.overwrite(sha256, damaged)
        with pytest.raises(BlobDamagedError):
            place.store.get(sha256)


def test_a_cut_off_blob_is_written_again(place):
    sha256 = place.store.put(b"heron")
    place.overwrite(sha256, b"her")
    assert place.store.put(b"heron") == sha256
    assert place.store.get(sha256) == b"heron"


def test_missing_and_deleted(store):
    sha256 = store.put(b"gone")
    store.delete(sha256)
    store.delete(sha256)
    assert not store.exists(sha256)
    assert store.missing([sha256]) == {sha256}
    with pytest.raises(BlobMissingError):
        store.get(sha256)
    with pytest.raises(BlobMissingError):
        store.size(sha256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "ab", "A" * 64, "g" * 64])
def test_a_name_that_is_no_hash_is_no_path(place, name):
    with pytest.raises(BlobMissingError):
        place.store.get(name)


def test_lists_what_is_there_and_nothing_else(place):
    assert list(place.store.listing()) == []
    hashes = place.store.put_many([b"a", b"bb"])
    place.add_strange_name()
    listed = {info.sha256: info for info in place.store.listing()}
    assert set(listed) == set(hashes)
    assert [listed[sha256].size for sha256 in hashes] == [1, 2]
    assert abs(listed[hashes[0]].modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_put_of_an_old_blob_makes_it_count_as_new(store, monkeypatch):
    sha256 = store.put(b"heron")
    first = modified(store, sha256)
    store.put(b"heron")
    assert modified(store, sha256) == first
    for module in ("registry.blobs.store", "registry.blobs.s3"):
        monkeypatch.setattr(sys.modules[module], "REFRESH_AFTER", timedelta(seconds=-60))
    time.sleep(1.1)  # S3 tells times in seconds
    store.put(b"heron")
    assert modified(store, sha256) > first
    assert store.get(sha256) == b"heron"


def test_discards_only_what_was_not_put_since(store):
    hashes = store.put_many([b"a", b"bb"])
    assert store.discard(hashes, older_than=LONG_AGO) == []
    assert store.missing(hashes) == set()
    gone = store.discard([hashes[1], ABSENT], older_than=LATER)
    assert [(info.sha256, info.size) for info in gone] == [(hashes[1], 2)]
    assert store.missing(hashes) == {hashes[1]}


def test_discards_leftovers(blobs):
    sha256 = blobs.put(b"heron")
    (blobs.root / "tmp" / "cut-off").write_bytes(b"123")
    assert blobs.discard_leftovers(older_than=LONG_AGO) == []
    assert blobs.discard_leftovers(older_than=LATER) == [3]
    assert list((blobs.root / "tmp").iterdir()) == []
    assert blobs.exists(sha256)


def test_a_folder_keeps_the_same_bytes_once(blobs):
    sha256 = blobs.put(b"heron")
    path = blobs.root / "sha256" / sha256[:2] / sha256[2:]
    before = path.stat()
    assert blobs.put(b"heron") == sha256
    assert path.stat().st_ino == before.st_ino


def test_a_folder_holds_nothing_half_done(blobs):
    def broken():
        yield b"fine"
        raise ValueError("sender went away")

    with pytest.raises(ValueError, match="went away"):
        blobs.put_many(broken())
    assert list((blobs.root / "tmp").iterdir()) == []
    assert not blobs.exists(hashlib.sha256(b"fine").hexdigest())


def test_require_space(blobs):
    blobs.require_space(0, floor_bytes=0)
    with pytest.raises(StorageFullError):
        blobs.require_space(1 << 60, floor_bytes=0)
    with pytest.raises(StorageFullError):
        blobs.require_space(0, floor_bytes=1 << 60)


@pytest.fixture
def strike(tmp_path, monkeypatch):
    """A function that arms a failpoint."""
    folder = tmp_path / "failpoints"
    folder.mkdir()
    monkeypatch.setenv("FILOPODIA_FAILPOINTS", str(folder))
    return lambda name, action: (folder / name).write_text(action)


@pytest.mark.parametrize("where", ["blobs.after_write", "blobs.after_sync"])
@pytest.mark.parametrize(
    ("action", "error"), [("full", StorageFullError), ("io", BlobStoreUnavailableError)]
)
def test_a_failing_disk_leaves_nothing(blobs, strike, where, action, error):
    strike(where, action)
    with pytest.raises(error):
        blobs.put_many([b"heron", b"egret"])
    assert list((blobs.root / "tmp").iterdir()) == []
    assert list(blobs.listing()) == []
    assert blobs.get(blobs.put(b"heron")) == b"heron"


def test_a_process_killed_while_it_writes_leaves_no_half_blob(blobs, strike):
    code = f"from registry.blobs.opening import open_blob_store as o; o({str(blobs.root)!r}).put(b'heron')"
    for where, is_there in (
        ("blobs.after_write", False),
        ("blobs.after_sync", False),
        ("blobs.after_rename", True),
    ):
        strike(where, "kill")
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
        sha256 = hashlib.sha256(b"heron").hexdigest()
        assert blobs.exists(sha256) == is_there
    assert blobs.get(sha256) == b"heron"
    assert len(blobs.discard_leftovers(older_than=LATER)) == 2


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
