import pytest

from registry import queue, tasks
from registry.checkpoints import clear_ended, put_checkpoint
from registry.errors import FencedError
from registry.statuses import ENDED, TaskStatus
from tests.factories import make_learner, make_task


@pytest.fixture
def claimed(session, blobs):
    make_learner(session)
    make_task(session, blobs)
    session.commit()
    claimed = queue.claim_next(session, "w", 30)
    session.commit()
    return claimed


def test_the_newest_is_named_and_the_one_before_is_handed_out(session, claimed):
    assert put_checkpoint(session, claimed.id, claimed.token, "a" * 64) is None
    assert put_checkpoint(session, claimed.id, claimed.token, "b" * 64) == "a" * 64
    assert tasks.get_task(session, claimed.id).checkpoint == "b" * 64


def test_an_attempt_that_is_no_longer_current_names_none(session, claimed):
    with pytest.raises(FencedError):
        put_checkpoint(session, claimed.id, claimed.token - 1, "a" * 64)
    queue.fail_task(session, claimed.id, claimed.token, "internal", "It did.")
    with pytest.raises(FencedError):
        put_checkpoint(session, claimed.id, claimed.token, "a" * 64)
    assert tasks.get_task(session, claimed.id).checkpoint is None


@pytest.mark.parametrize("back", [queue.give_back, queue.requeue_task])
def test_outlives_the_attempt(session, claimed, back):
    put_checkpoint(session, claimed.id, claimed.token, "a" * 64)
    reason = () if back is queue.give_back else ("worker-lost", "It did.", 0.0)
    assert back(session, claimed.id, claimed.token, *reason) == "queued"
    session.commit()
    queue.claim_next(session, "w", 30)
    assert tasks.get_task(session, claimed.id).checkpoint == "a" * 64


@pytest.mark.parametrize("status", TaskStatus)
def test_goes_with_its_blob_once_the_task_has_ended(session, blobs, claimed, status):
    sha256 = blobs.put(b"how far it is")
    put_checkpoint(session, claimed.id, claimed.token, sha256)
    task = tasks.get_task(session, claimed.id)
    task.status = status
    session.commit()

    assert clear_ended(session, blobs.delete) == (status in ENDED)
    session.commit()

    assert tasks.get_task(session, claimed.id).checkpoint == (None if status in ENDED else sha256)
    assert blobs.exists(sha256) == (status not in ENDED)
    assert clear_ended(session, blobs.delete) == 0
