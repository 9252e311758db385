"""A task goes first: who may be claimed, and when a consolidation is put down."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from registry import queue, tasks, versions
from registry.errors import FencedError
from registry.tables import CONSOLIDATE, TaskRow
from tests.factories import (
    learn_at_once,
    make_consolidated,
    make_learner,
    make_new_version,
    make_task,
)


@pytest.fixture
def waiting(session, blobs):
    """A consolidation that may start."""
    make_learner(session)
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    (task,) = tasks.list_tasks(session, mode=CONSOLIDATE).items
    return task


def claim(session, worker="w"):
    claimed = queue.claim_next(session, worker, 30)
    session.commit()
    return claimed


def beat(session, claimed):
    answer = queue.heartbeat(session, claimed.id, claimed.token, 30)
    session.commit()
    return answer


def make_older(session, task, seconds=5):
    then = func.now() - timedelta(seconds=seconds)
    session.execute(update(TaskRow).where(TaskRow.id == task.id).values(created_at=then))
    session.commit()


def test_it_does_not_block_a_task_of_its_learner_and_waits_for_it(session, blobs, waiting):
    task = make_task(session, blobs, classes=("egret",))
    session.commit()
    assert queue.due_to_ring(session, 0, limit=9) == [task.id]
    assert queue.claim(session, waiting.id, "w", 30) is None
    claimed = claim(session)
    assert (claimed.id, claimed.is_consolidation) == (task.id, False)
    assert claim(session) is None
    queue.fail_task(session, task.id, claimed.token, "diverged", "It did.")
    session.commit()
    claimed = claim(session)
    assert (claimed.id, claimed.is_consolidation) == (waiting.id, True)


def test_a_task_that_waits_to_be_tried_again_goes_first(session, blobs, waiting):
    task = make_task(session, blobs, classes=("egret",))
    session.commit()
    claimed = claim(session)
    queue.requeue_task(session, task.id, claimed.token, "worker-lost", "Killed.")
    session.commit()
    assert claim(session) is None


def test_tasks_of_others_go_first_though_they_are_younger(session, blobs, waiting):
    make_learner(session, "fish")
    task = make_task(session, blobs, "fish")
    session.commit()
    assert queue.due_to_ring(session, 0, limit=9) == [task.id, waiting.id]
    assert claim(session).id == task.id
    assert claim(session, "other").id == waiting.id


def test_it_is_put_down_for_a_task_of_its_learner_at_once(session, blobs, waiting):
    claimed = claim(session)
    assert beat(session, claimed) == "ok"
    task = make_task(session, blobs, classes=("egret",))
    session.commit()
    # Until it is put down nobody may have the task.
    assert claim(session, "other") is None
    assert beat(session, claimed) == "yield"
    assert queue.give_back(session, claimed.id, claimed.token) == "queued"
    session.commit()
    assert claim(session, "other").id == task.id
    assert claim(session) is None
    assert tasks.get_task(session, waiting.id).attempt == 0


def test_it_is_put_down_for_another_learners_task_that_finds_no_worker(session, blobs, waiting):
    claimed = claim(session)
    make_learner(session, "fish")
    task = make_task(session, blobs, "fish")
    session.commit()
    # A free worker would take it up within the second.
    assert beat(session, claimed) == "ok"
    make_older(session, task)
    assert beat(session, claimed) == "yield"
    assert claim(session, "other").id == task.id
    assert beat(session, claimed) == "ok"


def test_it_is_not_put_down_for_what_nobody_may_claim(session, blobs, waiting):
    claimed = claim(session)
    for name in ("fish", "cars"):
        make_learner(session, name)
    running = make_task(session, blobs, "fish")
    session.commit()
    assert claim(session, "other").id == running.id
    make_older(session, make_task(session, blobs, "fish", classes=("behind it",)))
    later = make_task(session, blobs, classes=("egret",))
    later.not_before = func.now() + timedelta(minutes=1)
    # A consolidation does not make way for another one.
    learn_at_once(session, blobs, ("car",), "cars")
    session.commit()
    assert beat(session, claimed) == "ok"


def test_a_task_is_never_put_down(session, blobs):
    make_learner(session)
    for label in ("heron", "egret"):
        make_older(session, make_task(session, blobs, classes=(label,)))
    claimed = claim(session)
    assert beat(session, claimed) == "ok"


def test_it_waits_for_whoever_decides_about_a_held_task(session, blobs, waiting):
    held = make_task(session, blobs, classes=("egret",))
    session.commit()
    claimed = claim(session)
    pending = make_new_version(session, held, unconsolidated=[1, 2])
    versions.hold(session, held.id, claimed.token, pending, "It would forget too much.")
    session.commit()
    # Published on another head, it could not be published any more.
    assert claim(session) is None
    versions.publish_held(session, held.id)
    waiting.not_before = None
    session.commit()
    assert claim(session).id == waiting.id


def test_it_does_not_wait_for_a_held_task_that_is_too_late_anyhow(session, blobs, waiting):
    held = make_task(session, blobs, classes=("egret",))
    session.commit()
    claimed = claim(session)
    versions.hold(session, held.id, claimed.token, make_new_version(session, held), "Forgets.")
    session.commit()
    learn_at_once(session, blobs, ("ibis",))
    session.commit()
    assert claim(session).id == waiting.id


def test_nor_for_one_that_was_held_before_it_was_learned(session, blobs, waiting):
    held = make_task(session, blobs, classes=("egret",))
    session.commit()
    claimed = claim(session)
    queue.hold_unlearned(session, held.id, claimed.token, "They look blank.")
    session.commit()
    assert claim(session).id == waiting.id


def test_a_killed_one_is_taken_over_before_another_of_its_learner(session, waiting):
    for attempt in range(1, queue.MAX_ATTEMPTS + 1):
        assert claim(session).attempt == attempt
        queue.release_leases(session, "w")
        session.commit()
    assert claim(session) is None
    task = tasks.get_task(session, waiting.id)
    assert (task.status, task.error["code"]) == ("failed", "worker-lost")


def abandon(session, worker="w"):
    """Let the leases of a worker run out."""
    queue.release_leases(session, worker)
    session.commit()


def test_one_that_was_abandoned_is_not_in_the_way_of_a_task(session, blobs, waiting):
    lost = claim(session)
    task = make_task(session, blobs, classes=("egret",))
    session.commit()
    abandon(session)
    assert claim(session, "other").id == task.id
    assert tasks.get_task(session, waiting.id).status == "queued"
    # Its worker may live after all: then it hears so, and it has lost no more than one attempt.
    assert beat(session, lost) == "lost"
    with pytest.raises(FencedError):
        queue.give_back(session, lost.id, lost.token)
    session.rollback()
    queue.fail_task(session, task.id, 1, "diverged", "It did.")
    session.commit()
    claimed = claim(session, "other")
    assert (claimed.id, claimed.attempt) == (waiting.id, 2)


def test_nor_for_a_worker_that_is_rung_for_the_task(session, blobs, waiting):
    claim(session)
    task = make_task(session, blobs, classes=("egret",))
    session.commit()
    abandon(session)
    assert queue.due_to_ring(session, 0, limit=9) == [task.id]
    session.commit()
    assert queue.claim(session, task.id, "other", 30).id == task.id


def test_one_that_was_abandoned_waits_for_a_held_task_as_any_other(session, blobs, waiting):
    held = make_task(session, blobs, classes=("egret",))
    session.commit()
    claimed = claim(session)
    versions.hold(session, held.id, claimed.token, make_new_version(session, held), "Forgets.")
    # As it was before it knew of held ones: it runs beside one.
    row = tasks.get_task(session, waiting.id)
    row.status, row.worker_id, row.lease_until = "running", "w", func.now()
    session.commit()
    assert claim(session, "other") is None
    assert tasks.get_task(session, waiting.id).status == "queued"
    later = make_task(session, blobs, classes=("ibis",))
    session.commit()
    assert claim(session, "other").id == later.id


@pytest.mark.parametrize("comes_back", ["released", "retried"])
def test_a_task_that_was_abandoned_is_not_in_the_way_of_an_earlier_one(session, blobs, comes_back):
    make_learner(session)
    first, second = (make_task(session, blobs, classes=(name,)) for name in ("heron", "egret"))
    session.commit()
    claimed = claim(session)
    if comes_back == "released":
        queue.hold_unlearned(session, first.id, claimed.token, "They look blank.")
    else:
        queue.fail_task(session, first.id, claimed.token, "diverged", "It did.")
    session.commit()
    assert claim(session).id == second.id
    if comes_back == "released":
        queue.release_held(session, tasks.get_task(session, first.id))
    else:
        tasks.retry_task(session, first.id)
    session.commit()
    assert claim(session, "other") is None
    abandon(session)
    assert claim(session, "other").id == first.id
    queue.fail_task(session, first.id, 2, "diverged", "It did.")
    session.commit()
    claimed = claim(session, "other")
    assert (claimed.id, claimed.attempt) == (second.id, 2)


def test_an_attempt_that_nothing_goes_before_is_left_to_its_worker(session, blobs, waiting):
    claimed = claim(session)
    abandon(session)
    # The database was away for longer than a lease, and the worker is still at it.
    assert queue.due_to_ring(session, 0, limit=9) == [waiting.id]
    session.commit()
    assert beat(session, claimed) == "ok"


def test_two_workers_never_have_two_things_of_one_learner(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)
        learn_at_once(session, blobs, ("first",))
        for i in range(4):
            make_task(session, blobs, classes=(f"bird {i}",), n_train=1, n_eval=0)

    def work(worker):
        for _ in range(30):
            with session_factory.begin() as session:
                claimed = queue.claim_next(session, f"w{worker}", 30)
            if claimed is None:
                continue
            with session_factory() as session:
                running = [
                    task.status
                    for mode in (None, CONSOLIDATE)
                    for task in tasks.list_tasks(session, mode=mode).items
                    if task.status in ("running", "cancelling")
                ]
            with session_factory.begin() as session:
                task = tasks.get_task(session, claimed.id)
                make = make_consolidated if claimed.is_consolidation else make_waiting
                versions.publish(session, claimed.id, claimed.token, make(session, task))
                done.append(task.index)
            assert len(running) == 1

    def make_waiting(session, task):
        return make_new_version(session, task, unconsolidated=[])

    done = []
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    # The tasks in their order, and the consolidation after all of them.
    assert done == [2, 3, 4, 5, -1]
