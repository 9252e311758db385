from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from registry import events, learners, queue, samples, tasks
from registry.errors import (
    LabelConfusableError,
    LabelKnownError,
    LearnerNotFoundError,
    StaleHeadError,
    TaskEndedError,
    TaskNotFoundError,
    TaskNotRetryableError,
)
from registry.tables import TaskRow
from tests.factories import make_learner, make_task, publish_task


def event_types(session, task_id):
    return [event.type for event in events.list_events(session, task_id)]


def test_add_task_counts_up(session, blobs):
    make_learner(session)
    first = make_task(session, blobs, name="waders", options={"eval_fraction": 0.1}, seed=3)
    second = make_task(session, blobs, classes=("crane",))
    assert (first.index, second.index) == (1, 2)
    assert (first.status, first.attempt, first.token, first.version) == ("queued", 0, 0, None)
    assert (first.n_train, first.n_eval, first.classes) == (12, 6, ["heron", "egret"])
    assert (first.name, first.options, first.seed) == ("waders", {"eval_fraction": 0.1}, 3)
    assert first.progress["phase"] == "queued"
    assert event_types(session, first.id) == ["queued"]


def test_add_task_needs_its_learner(session, blobs):
    with pytest.raises(LearnerNotFoundError):
        make_task(session, blobs, "nobody")


def test_add_task_checks_the_head(session, blobs):
    make_learner(session)
    publish_task(session, make_task(session, blobs, expected_head_version=0))
    with pytest.raises(StaleHeadError) as caught:
        make_task(session, blobs, classes=("crane",), expected_head_version=0)
    assert (caught.value.expected, caught.value.head) == (0, 1)
    make_task(session, blobs, classes=("crane",), expected_head_version=1)


def test_new_classes_refuses_labels_that_are_published_or_on_their_way(session, blobs):
    make_learner(session)
    publish_task(session, make_task(session, blobs, classes=("heron",)))
    make_task(session, blobs, classes=("egret",))
    for label in ("heron", "egret"):
        with pytest.raises(LabelKnownError) as caught:
            make_task(session, blobs, classes=("crane", label))
        assert caught.value.labels == [label]
    make_task(session, blobs, classes=("heron", "egret", "crane"), mode="extend")


def test_labels_of_a_failed_task_are_free_again(session, blobs):
    make_learner(session)
    failed = make_task(session, blobs)
    claimed = queue.claim(session, failed.id, "w", 30)
    queue.fail_task(session, failed.id, claimed.token, "diverged", "It did.")
    make_task(session, blobs)
    with pytest.raises(LabelKnownError):
        tasks.retry_task(session, failed.id)


@pytest.mark.parametrize("twin", ["HERON", "Heron", "\uff28eron", "hero\u017f"])
def test_a_label_that_looks_like_another_is_refused(session, blobs, twin):
    make_learner(session)
    known = "heros" if twin.endswith("\u017f") else "heron"
    publish_task(session, make_task(session, blobs, classes=(known,)))
    for mode in ("new_classes", "extend"):
        with pytest.raises(LabelConfusableError) as caught:
            make_task(session, blobs, classes=(twin,), mode=mode)
        assert (caught.value.label, caught.value.twin) == (twin, known)


def test_two_labels_of_one_task_that_look_alike_are_refused(session, blobs):
    make_learner(session)
    with pytest.raises(LabelConfusableError):
        make_task(session, blobs, classes=("kelvin", "\u212aelvin"))


def test_two_senders_of_one_class_at_once(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)

    def send(_):
        try:
            with session_factory.begin() as session:
                return make_task(session, blobs).index
        except LabelKnownError:
            return None

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(send, range(4)), key=str) == [1, None, None, None]


def test_get_task_sees_what_others_committed(session_factory, session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    session.commit()
    with session_factory.begin() as other:
        queue.claim_next(other, "w", 30)
    assert tasks.get_task(session, task.id).status == "running"
    with pytest.raises(TaskNotFoundError):
        tasks.get_task(session, "tsk_x")


def test_list_tasks_newest_first_in_pages(session, blobs):
    make_learner(session)
    make_learner(session, "fish")
    mine = [make_task(session, blobs, classes=(f"bird {i}",)).id for i in range(3)]
    make_task(session, blobs, "fish")
    tasks.request_cancel(session, mine[0])
    page = tasks.list_tasks(session, learner_name="birds", limit=2)
    assert {task.id for task in page.items} <= set(mine)
    rest = tasks.list_tasks(session, learner_name="birds", limit=2, cursor=page.next_cursor)
    listed = [task.id for task in (*page.items, *rest.items)]
    assert listed == sorted(mine, reverse=True)
    assert rest.next_cursor is None
    queued = tasks.list_tasks(session, statuses=("queued", "running"))
    assert len(queued.items) == 3
    with pytest.raises(LearnerNotFoundError):
        tasks.list_tasks(session, learner_name="nobody")


def test_position_and_depth(session, blobs):
    make_learner(session)
    made = [make_task(session, blobs, classes=(f"bird {i}",)) for i in range(3)]
    session.commit()
    assert [tasks.position(session, task) for task in made] == [1, 2, 3]
    queue.claim_next(session, "w", 30)
    session.commit()
    states = [tasks.position(session, tasks.get_task(session, task.id)) for task in made]
    assert states == [None, 1, 2]
    depth = tasks.queue_depth(session)
    assert (depth.n_tasks, depth.n_learners) == (3, 1)
    assert depth.oldest_age_s >= 0


def test_depth_counts_learners_since_more_workers_would_have_nothing_to_do(session, blobs):
    for name in ("birds", "fish"):
        make_learner(session, name)
        for i in range(2):
            make_task(session, blobs, name, classes=(f"{name} {i}",))
    depth = tasks.queue_depth(session)
    assert (depth.n_tasks, depth.n_learners) == (4, 2)


def test_depth_of_nothing(session):
    assert tasks.queue_depth(session) == tasks.QueueDepth(0, 0.0, 0)


def test_cancel_of_a_queued_task_is_at_once(session, blobs):
    make_learner(session)
    task = tasks.request_cancel(session, make_task(session, blobs).id)
    assert task.status == "cancelled"
    assert task.finished_at is not None
    assert event_types(session, task.id) == ["queued", "cancelled", "end"]
    with pytest.raises(TaskEndedError):
        tasks.request_cancel(session, task.id)


def test_cancel_of_a_running_task_waits_for_its_worker(session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    claimed = queue.claim_next(session, "w", 30)
    assert tasks.request_cancel(session, task.id).status == "cancelling"
    assert tasks.request_cancel(session, task.id).status == "cancelling"
    assert queue.heartbeat(session, task.id, claimed.token, 30) == "cancel"
    queue.finish_cancelled(session, task.id, claimed.token)
    assert tasks.get_task(session, task.id).status == "cancelled"
    assert event_types(session, task.id)[-2:] == ["cancelled", "end"]


def test_retry_starts_anew(session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    claimed = queue.claim_next(session, "w", 30)
    queue.fail_task(session, task.id, claimed.token, "diverged", "It did.")
    retried = tasks.retry_task(session, task.id)
    assert (retried.status, retried.attempt, retried.error) == ("queued", 0, None)
    assert (retried.started_at, retried.finished_at) == (None, None)
    again = queue.claim_next(session, "w", 30)
    # The token never goes back, so the first attempt stays fenced off.
    assert (again.id, again.attempt, again.token) == (task.id, 1, claimed.token + 1)


def test_retry_refuses(session, blobs):
    learner = make_learner(session)
    task = make_task(session, blobs)
    with pytest.raises(TaskNotRetryableError, match="queued"):
        tasks.retry_task(session, task.id)
    tasks.request_cancel(session, task.id)
    samples.drop_samples(session, task.id)
    with pytest.raises(TaskNotRetryableError, match="images"):
        tasks.retry_task(session, task.id)
    assert learners.get_learner_by_id(session, learner.id).head_version == 0


def test_rows_refuse_an_unknown_status(session, blobs):
    make_learner(session)
    make_task(session, blobs)
    task = session.scalars(select(TaskRow)).one()
    task.status = "odd"
    with pytest.raises(Exception, match="ck_tasks_status"):
        session.flush()
