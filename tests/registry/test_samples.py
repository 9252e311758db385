import hashlib

import pytest

from registry import queue, samples
from registry.errors import (
    BlobMissingError,
    InvalidCursorError,
    LearnerBusyError,
    SampleNotFoundError,
    TaskNotFoundError,
)
from registry.paging import encode_cursor
from registry.samples import NewSample
from tests.factories import make_image, make_learner, make_task, publish_task


@pytest.fixture
def task(session, blobs):
    make_learner(session)
    return make_task(session, blobs, n_train=3, n_eval=2)


def test_samples_come_in_the_order_sent(session, task):
    train = samples.task_samples(session, task.id, "train")
    assert [sample.filename for sample in train] == [
        f"{label}-{i}.png" for label in ("heron", "egret") for i in range(3)
    ]
    assert len(samples.task_samples(session, task.id, "eval")) == 4


def test_list_in_pages_and_filtered(session, task):
    seen, cursor = [], None
    while True:
        page = samples.list_samples(session, task.id, limit=4, cursor=cursor)
        seen += [sample.position for sample in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == list(range(10))
    filtered = samples.list_samples(session, task.id, split="eval", label="egret")
    assert {(sample.split, sample.label) for sample in filtered.items} == {("eval", "egret")}
    assert len(filtered.items) == 2


@pytest.mark.parametrize("value", ["x", "-1", "99999999999", "²"])
def test_list_refuses_a_made_up_cursor(session, task, value):
    with pytest.raises(InvalidCursorError):
        samples.list_samples(session, task.id, cursor=encode_cursor(value))


def test_get_sample(session, task, blobs):
    sample = samples.task_samples(session, task.id, "train")[0]
    assert samples.get_sample(session, sample.id).label == "heron"
    assert blobs.get(sample.blob_sha256) == make_image("heron", 0)
    with pytest.raises(SampleNotFoundError):
        samples.get_sample(session, "smp_x")


def test_a_sample_without_its_blob_is_refused(session, task, blobs):
    missing = hashlib.sha256(b"never put").hexdigest()
    with pytest.raises(BlobMissingError):
        samples.add_samples(
            session, task.id, [NewSample("heron", "train", missing, None, 8, 8)], blobs
        )


def test_eval_samples_by_task(session, blobs, task):
    more = make_task(session, blobs, classes=("crane",), n_eval=0)
    third = make_task(session, blobs, classes=("stork",), n_eval=1)
    by_task = samples.eval_samples_by_task(session, task.learner_id, (1, 2, 3, 9))
    assert {index: len(rows) for index, rows in by_task.items()} == {1: 4, 3: 1}
    assert (more.index, third.index) == (2, 3)


def test_drop_removes_rows_and_then_unshared_blobs(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)
        make_learner(session, "fish")
        first = make_task(session, blobs)
        second = make_task(session, blobs, "fish", classes=("heron",))
        publish_task(session, first)
    with session_factory.begin() as session:
        hashes = samples.drop_samples(session, first.id)
    assert len(hashes) == 18
    with session_factory.begin() as session:
        # The second task has the herons too.
        assert samples.delete_unreferenced(session, blobs, hashes) == 9
        kept = samples.task_samples(session, second.id, "train")
        assert all(blobs.exists(sample.blob_sha256) for sample in kept)
        assert samples.task_samples(session, first.id, "train") == []
        assert samples.drop_samples(session, first.id) == []


def test_drop_waits_for_the_end_of_the_task(session, task):
    with pytest.raises(LearnerBusyError):
        samples.drop_samples(session, task.id)
    queue.claim_next(session, "w", 30)
    with pytest.raises(LearnerBusyError):
        samples.drop_samples(session, task.id)
    with pytest.raises(TaskNotFoundError):
        samples.drop_samples(session, "tsk_x")
