import os
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from registry import learners, queue, samples, tasks, versions
from registry.blobs.store import LocalBlobStore
from registry.errors import BlobMissingError
from registry.samples import NewSample
from registry.tables import SampleRow, TaskRow
from registry.upkeep.collection import Collected, collect, no_collection
from tests.factories import (
    make_learner,
    make_new_version,
    make_task,
    publish_task,
    put_artifact,
)
from tests.waiting import wait_until

DAY = 24 * 3600


def age(blobs, *hashes):
    """Make blobs look two days old; all of them if none is named."""
    for info in list(blobs.listing()):
        if not hashes or info.sha256 in hashes:
            path = blobs.root / "sha256" / info.sha256[:2] / info.sha256[2:]
            os.utime(path, (time.time() - 2 * DAY,) * 2)


@pytest.fixture
def task(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)
        return make_task(session, blobs, n_train=2, n_eval=1)


def test_removes_what_nothing_refers_to_and_only_if_it_is_old(session_factory, blobs, task):
    old, new = blobs.put(b"old"), blobs.put(b"new")
    age(blobs)
    blobs.put(b"new")
    (blobs.root / "tmp" / "cut-off").write_bytes(b"12345")
    os.utime(blobs.root / "tmp" / "cut-off", (0, 0))
    assert collect(session_factory, blobs) == Collected(1, len(b"old") + 5)
    assert blobs.missing([old, new]) == {old}
    with session_factory() as session:
        images = set(session.scalars(select(SampleRow.blob_sha256)))
    assert len(images) == 6
    assert blobs.missing(images) == set()


def test_keeps_everything_that_any_row_refers_to(session_factory, blobs, task):
    published = put_artifact(blobs, b"shared", b"task 1")
    held = put_artifact(blobs, b"shared", b"task 2, held")
    checkpoint = blobs.put(b"checkpoint")
    with session_factory.begin() as session:
        publish_task(session, task, manifest_sha256=published)
        second = make_task(session, blobs, classes=("crane", "stork"), n_train=2, n_eval=1)
        claimed = queue.claim(session, second.id, "w", 30)
        new = make_new_version(session, second, manifest_sha256=held)
        versions.hold(session, second.id, claimed.token, new, "Look at it.")
        third = make_task(session, blobs, classes=("ibis",), n_train=2, n_eval=1)
        session.get(TaskRow, third.id).checkpoint = checkpoint
    before = {info.sha256 for info in blobs.listing()}
    assert collect(session_factory, blobs, grace=timedelta(seconds=-60)) == Collected()
    assert {info.sha256 for info in blobs.listing()} == before


def test_a_deleted_learner_frees_its_images_and_its_files(session_factory, blobs, task):
    with session_factory.begin() as session:
        publish_task(session, task, manifest_sha256=put_artifact(blobs, b"a file"))
        learners.delete_learner(session, "birds")
    n_blobs = sum(1 for _ in blobs.listing())
    assert n_blobs == 6 + 2
    age(blobs)
    assert collect(session_factory, blobs).n_blobs == n_blobs
    assert list(blobs.listing()) == []


def test_a_blob_that_two_learners_share_stays_with_the_second(session_factory, blobs, task):
    with session_factory.begin() as session:
        make_learner(session, "others")
        make_task(session, blobs, "others", classes=("heron",), n_train=2, n_eval=1)
        learners.delete_learner(session, "birds")
    age(blobs)
    assert collect(session_factory, blobs).n_blobs == 3
    assert sum(1 for _ in blobs.listing()) == 3


def test_without_a_manifest_nothing_is_deleted(session_factory, blobs, task):
    with session_factory.begin() as session:
        publish_task(session, task, manifest_sha256="0" * 64)
    spare = blobs.put(b"spare")
    age(blobs)
    with pytest.raises(BlobMissingError):
        collect(session_factory, blobs)
    assert blobs.exists(spare)


def test_one_collects_at_a_time_and_none_during_a_backup(session_factory, engine, blobs):
    blobs.put(b"spare")
    age(blobs)
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        no_collection(connection),
    ):
        assert collect(session_factory, blobs) == Collected()
    assert collect(session_factory, blobs).n_blobs == 1


def test_a_blob_named_between_listing_and_deleting_stays(session_factory, blobs, task):
    """The worst moment: the blob is old, was listed, and an upload names it without putting it again."""
    sha256 = blobs.put(b"wanted after all")
    age(blobs)

    class SlowStore(LocalBlobStore):
        def listing(self):
            listed = list(super().listing())
            add(sha256)
            yield from listed

    def add(sha256):
        new = NewSample("heron", "train", sha256, None, 32, 32)
        with session_factory.begin() as session:
            row = tasks.add_task(
                session,
                "birds",
                name=None,
                mode="extend",
                options={},
                config={},
                seed=0,
                classes=["heron"],
                n_train=1,
                n_eval=0,
            )
            samples.add_samples(session, row.id, [new], blobs)

    assert collect(session_factory, SlowStore(blobs.root)) == Collected()
    assert blobs.exists(sha256)


def test_a_blob_put_between_listing_and_deleting_stays(session_factory, blobs):
    sha256 = blobs.put(b"put again")
    age(blobs)

    class SlowStore(LocalBlobStore):
        def listing(self):
            listed = list(super().listing())
            self.put(b"put again")
            yield from listed

    assert collect(session_factory, SlowStore(blobs.root)) == Collected()
    assert blobs.exists(sha256)


def test_uploads_beside_collections_lose_nothing(session_factory, blobs):
    """Blobs old enough to go are put and named again and again, while collections run."""
    with session_factory.begin() as session:
        make_learner(session)
    stopping = threading.Event()
    failures = []

    def collect_on():
        while not stopping.is_set():
            try:
                collect(session_factory, blobs)
            except Exception as error:  # noqa: BLE001
                failures.append(error)

    collector = threading.Thread(target=collect_on)
    collector.start()
    n_removed = 0
    try:
        for i in range(25):
            with session_factory.begin() as session:
                task = make_task(session, blobs, classes=(f"bird {i % 3}",), mode="extend")
            with session_factory() as session:
                named = [row.blob_sha256 for row in samples.task_samples(session, task.id, "train")]
            assert blobs.missing(named) == set()
            age(blobs)
            assert blobs.missing(named) == set()
            with session_factory.begin() as session:
                session.execute(delete(TaskRow).where(TaskRow.id == task.id))
            if i % 5 == 0:
                wait_until(lambda sha256=named[0]: failures or not blobs.exists(sha256))
            n_removed += len(blobs.missing(named)) > 0
    finally:
        stopping.set()
        collector.join()
    assert failures == []
    assert n_removed > 0
