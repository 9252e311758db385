from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from registry import events, queue, tasks, versions
from registry.errors import FencedError
from registry.intervals import wilson
from registry.statuses import TaskStatus
from registry.tables import TaskRow
from tests.factories import make_learner, make_new_version, make_task, publish_task
from tests.waiting import within


def let_lease_run_out(session, task_id):
    past = func.now() - timedelta(seconds=1)
    session.execute(update(TaskRow).where(TaskRow.id == task_id).values(lease_until=past))
    session.commit()


def end_wait(session, task_id):
    session.execute(update(TaskRow).where(TaskRow.id == task_id).values(not_before=func.now()))
    session.commit()


def claim(session, worker="w"):
    claimed = queue.claim_next(session, worker, 30)
    session.commit()
    return claimed


def status(session, task_id):
    return tasks.get_task(session, task_id).status


@pytest.fixture
def task(session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    session.commit()
    return task


def test_claim_takes_the_task_once(session, task):
    claimed = claim(session)
    assert (claimed.id, claimed.token, claimed.attempt) == (task.id, 1, 1)
    row = tasks.get_task(session, task.id)
    assert (row.status, row.worker_id, row.progress["phase"]) == ("running", "w", "preparing")
    assert row.started_at is not None
    assert claim(session) is None
    assert queue.claim(session, task.id, "other", 30) is None


def test_claim_by_id(session, task):
    assert queue.claim(session, "tsk_x", "w", 30) is None
    assert queue.claim(session, task.id, "w", 30).id == task.id


def test_nothing_to_claim(session):
    assert claim(session) is None
    assert queue.due_to_ring(session, 0, limit=9) == []


def test_oldest_first_over_all_learners_and_in_order_within_one(session, blobs):
    for name in ("a", "b"):
        make_learner(session, name)
    order = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    ids = {}
    for learner, label in order:
        ids[learner, label] = make_task(session, blobs, learner, classes=(label,)).id
        session.commit()
    # One task of each learner at a time.
    assert claim(session).id == ids["a", "1"]
    assert claim(session).id == ids["b", "1"]
    assert claim(session) is None
    assert queue.claim(session, ids["a", "2"], "w", 30) is None
    queue.fail_task(session, ids["b", "1"], 1, "diverged", "It did.")
    session.commit()
    assert queue.due_to_ring(session, 0, limit=9) == [ids["b", "2"]]
    assert claim(session).id == ids["b", "2"]


def test_a_held_task_does_not_hold_up_the_next(session, blobs, task):
    claimed = claim(session)
    versions.hold(session, task.id, claimed.token, make_new_version(session, task), "Forgets.")
    after = make_task(session, blobs, classes=("crane",))
    session.commit()
    assert claim(session).id == after.id


def test_many_claimers_take_each_task_once(session_factory, blobs):
    with session_factory.begin() as session:
        for i in range(6):
            make_learner(session, f"learner-{i}")
            make_task(session, blobs, f"learner-{i}", n_train=1, n_eval=0)

    def work(worker):
        taken = []
        for _ in range(12):
            with session_factory.begin() as session:
                claimed = queue.claim_next(session, f"w{worker}", 30)
            if claimed:
                taken.append(claimed.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [task_id for ids in pool.map(work, range(4)) for task_id in ids]
    assert len(taken) == len(set(taken)) == 6


def test_two_claimers_never_run_two_tasks_of_one_learner(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)
        for i in range(8):
            make_task(session, blobs, classes=(f"bird {i}",), n_train=1, n_eval=0)

    def work(worker):
        for _ in range(40):
            with session_factory.begin() as session:
                claimed = queue.claim_next(session, f"w{worker}", 30)
            if claimed is None:
                continue
            with session_factory.begin() as session:
                running = len(tasks.list_tasks(session, statuses={TaskStatus.RUNNING}).items)
                task = tasks.get_task(session, claimed.id)
                versions.publish(
                    session, claimed.id, claimed.token, make_new_version(session, task)
                )
            assert running == 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    with session_factory() as session:
        page = tasks.list_tasks(session)
        assert {task.version - task.index for task in page.items} == {0}


def test_a_heartbeat_extends_the_lease(session, task):
    claimed = claim(session)
    assert queue.heartbeat(session, task.id, claimed.token, 3600) == "ok"
    row = tasks.get_task(session, task.id)
    assert row.lease_until - row.started_at > timedelta(minutes=50)


def test_an_expired_lease_is_taken_over_and_the_old_attempt_is_fenced_off(session, task):
    old = claim(session, "slow")
    let_lease_run_out(session, task.id)
    new = claim(session, "quick")
    assert (new.id, new.token, new.attempt) == (task.id, old.token + 1, 2)
    assert queue.heartbeat(session, task.id, old.token, 30) == "lost"
    writes = (
        lambda: queue.update_progress(session, task.id, old.token, {"phase": "training"}),
        lambda: queue.fail_task(session, task.id, old.token, "internal", "Too late."),
        lambda: queue.requeue_task(session, task.id, old.token, "internal", "Too late."),
        lambda: queue.give_back(session, task.id, old.token),
        lambda: queue.finish_cancelled(session, task.id, old.token),
        lambda: versions.publish(session, task.id, old.token, make_new_version(session, task)),
        lambda: versions.hold(
            session, task.id, old.token, make_new_version(session, task), "Late."
        ),
    )
    for write in writes:
        with pytest.raises(FencedError):
            write()
    session.commit()
    version = versions.publish(session, task.id, new.token, make_new_version(session, task))
    assert version.number == 1
    with pytest.raises(FencedError):
        versions.publish(session, task.id, new.token, make_new_version(session, task))


def test_a_lease_that_has_not_run_out_is_left_alone(session, task):
    claim(session)
    assert claim(session, "other") is None


def test_release_leases_takes_over_a_dead_predecessor_at_once(session, blobs, task):
    make_learner(session, "fish")
    other = make_task(session, blobs, "fish")
    session.commit()
    assert {claim(session, "w").id, claim(session, "other").id} == {task.id, other.id}
    assert queue.release_leases(session, "w") == 1
    session.commit()
    again = claim(session, "w")
    assert again.attempt == 2
    assert claim(session, "w") is None


def test_an_expired_cancelling_task_is_cancelled(session, task):
    claim(session)
    tasks.request_cancel(session, task.id)
    let_lease_run_out(session, task.id)
    assert claim(session, "other") is None
    assert status(session, task.id) == "cancelled"


def test_a_task_that_loses_every_worker_is_given_up(session, task):
    for attempt in range(1, queue.MAX_ATTEMPTS + 1):
        assert claim(session).attempt == attempt
        let_lease_run_out(session, task.id)
    assert claim(session) is None
    row = tasks.get_task(session, task.id)
    assert row.status == "failed"
    assert row.error["code"] == "worker-lost"
    assert [event.type for event in events.list_events(session, task.id)][-2:] == ["failed", "end"]


def test_requeue_waits_longer_each_time_and_then_fails(session, task):
    waits = []
    for _ in range(queue.MAX_ATTEMPTS):
        claimed = claim(session)
        if (
            queue.requeue_task(session, task.id, claimed.token, "worker-lost", "Killed.")
            == "failed"
        ):
            break
        row = tasks.get_task(session, task.id)
        waits.append((row.not_before - session.scalar(func.now())).total_seconds())
        session.commit()
        assert claim(session) is None
        end_wait(session, task.id)
    assert waits == [5, 10, 20, 40]
    assert tasks.get_task(session, task.id).error == {"code": "worker-lost", "detail": "Killed."}


def test_requeue_without_delay(session, task):
    claimed = claim(session)
    queue.requeue_task(session, task.id, claimed.token, "internal", "Again.", delay_s=0)
    session.commit()
    assert claim(session).attempt == 2


def test_give_back_does_not_count_the_attempt(session, task):
    claimed = claim(session)
    assert queue.give_back(session, task.id, claimed.token) == "queued"
    session.commit()
    again = claim(session)
    assert (again.attempt, again.token) == (1, claimed.token + 1)


@pytest.mark.parametrize("end", ["requeue", "give_back"])
def test_a_task_that_is_being_cancelled_does_not_come_back(session, task, end):
    claimed = claim(session)
    tasks.request_cancel(session, task.id)
    if end == "requeue":
        after = queue.requeue_task(session, task.id, claimed.token, "worker-lost", "Killed.")
    else:
        after = queue.give_back(session, task.id, claimed.token)
    assert after == status(session, task.id) == "cancelled"


def test_progress_tells_phases_and_steps(session, task):
    claimed = claim(session)
    for phase, fraction in (("preparing", 0.1), ("training", 0.2), ("training", 0.3)):
        progress = {**tasks.INITIAL_PROGRESS, "phase": phase, "fraction": fraction}
        queue.update_progress(session, task.id, claimed.token, progress)
    assert tasks.get_task(session, task.id).progress["fraction"] == 0.3
    told = [(event.type, event.data.get("phase")) for event in events.list_events(session, task.id)]
    assert told == [
        ("queued", None),
        ("started", None),
        ("phase", "preparing"),
        ("progress", "preparing"),
        ("phase", "training"),
        ("progress", "training"),
        ("progress", "training"),
    ]


def test_a_claim_passes_over_a_learner_that_is_locked(session_factory, session, blobs, task):
    with session_factory.begin() as other:
        make_task(other, blobs, classes=("crane",))
        with within(1):
            assert claim(session) is None
    assert claim(session).id == task.id


def test_the_whole_life_in_events(session, task):
    publish_task(session, task)
    listed = events.list_events(session, task.id)
    types = [event.type for event in listed]
    assert types == ["queued", "started", "phase", "evaluated", "published", "end"]
    assert listed[-1].data == {"status": "succeeded", "version": 1}
    assert listed[3].data == {
        "accuracies": [
            {
                "task": 1,
                "n": 10,
                "n_cross_validated": 0,
                "accuracy": 0.9,
                "low": wilson(9, 10)[0],
                "high": wilson(9, 10)[1],
            }
        ]
    }
    assert events.list_events(session, task.id, after_seq=listed[3].seq) == listed[4:]
    assert events.list_events(session, task.id, limit=2) == listed[:2]
