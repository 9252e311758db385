"""Consolidations as rows: when they are queued, what they are of, and what else of the registry makes of them."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from registry import (
    accuracy,
    ancestry,
    bundles,
    consolidations,
    events,
    learners,
    queue,
    samples,
    tasks,
    time_limits,
    versions,
)
from registry.errors import (
    ConsolidationOffError,
    FencedError,
    NothingToConsolidateError,
    StaleHeadError,
    TaskNotRetryableError,
)
from registry.schedule import Schedule
from registry.tables import CONSOLIDATE, TaskRow
from tests.factories import (
    AT_ONCE,
    learn_at_once,
    make_consolidated,
    make_learner,
    make_new_version,
    make_task,
    publish_task,
)

IDLE = Schedule.parse("idle", 60)
BY_HAND = Schedule.parse("by_hand")
NEVER = Schedule.parse("never")


@pytest.fixture
def learner(session):
    learner = make_learner(session)
    session.commit()
    return learner


def claim(session, worker="w"):
    claimed = queue.claim_next(session, worker, 30)
    session.commit()
    return claimed


def pending(session, learner):
    return consolidations.pending(session, learner.id)


def wait_s(session, task):
    return (task.not_before - session.scalar(func.now())).total_seconds()


def consolidate(session, learner, **fields):
    """Take the pending consolidation up and publish it; return its row and the version."""
    task = pending(session, learner)
    claimed = queue.claim(session, task.id, "w", 30)
    new_version = make_consolidated(session, task, **fields)
    version = versions.publish(session, task.id, claimed.token, new_version, AT_ONCE)
    session.commit()
    return task, version


def test_what_waits_is_queued_with_the_version_that_says_so(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",), schedule=IDLE)
    task = pending(session, learner)
    assert (task.mode, task.index, task.status) == (CONSOLIDATE, -1, "queued")
    assert (task.classes, task.n_train, task.options) == ([], 0, {"tasks": None, "by_hand": False})
    assert [event.type for event in events.list_events(session, task.id)] == ["queued"]
    assert 0 < wait_s(session, task) <= 60
    session.commit()
    assert claim(session) is None


def test_the_next_task_is_taken_along_and_pushes_it_on(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",), schedule=IDLE)
    session.commit()
    first = pending(session, learner).not_before
    learn_at_once(session, blobs, ("egret",), schedule=IDLE)
    session.commit()
    task = pending(session, learner)
    assert task.index == -1
    assert task.not_before > first
    task.not_before = None
    session.commit()
    assert claim(session).id == task.id
    assert pending(session, learner).options["tasks"] == [1, 2]


@pytest.mark.parametrize("schedule", [BY_HAND, NEVER])
def test_nothing_is_queued_where_the_operator_says_so(session, blobs, learner, schedule):
    learn_at_once(session, blobs, ("heron",), schedule=schedule)
    assert pending(session, learner) is None


def test_nothing_is_queued_where_nothing_waits(session, blobs, learner):
    publish_task(session, make_task(session, blobs))
    assert pending(session, learner) is None
    with pytest.raises(NothingToConsolidateError):
        consolidations.request(session, "birds", schedule=IDLE)


def test_by_hand(session, blobs, learner):
    with pytest.raises(NothingToConsolidateError):
        consolidations.request(session, "birds", schedule=BY_HAND)
    learn_at_once(session, blobs, ("heron",), schedule=BY_HAND)
    with pytest.raises(ConsolidationOffError):
        consolidations.request(session, "birds", schedule=NEVER)
    task = consolidations.request(session, "birds", schedule=BY_HAND, name="now", key_id="k")
    assert (task.name, task.key_id, task.not_before) == ("now", "k", None)
    again = consolidations.request(session, "birds", schedule=BY_HAND)
    assert again.id == task.id
    session.commit()
    assert claim(session).id == task.id
    # One that runs is the one that was asked for.
    assert consolidations.request(session, "birds", schedule=BY_HAND).status == "running"


def test_by_hand_does_not_wait_for_quiet_nor_for_its_hours(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",), schedule=closed(session))
    session.commit()
    task = pending(session, learner)
    assert "hours" in task.options
    consolidations.request(session, "birds", schedule=IDLE)
    session.commit()
    task = pending(session, learner)
    assert task.options == {"tasks": None, "by_hand": True}
    # A task that comes after leaves it so.
    make_task(session, blobs, classes=("egret",))
    publish_task(session, tasks.list_tasks(session).items[0], unconsolidated=[1, 2])
    session.commit()
    assert claim(session).id == task.id


def closed(session, opens_in=120):
    """Hours that begin in so many minutes and last for one."""
    now = session.scalar(text("SELECT now() AT TIME ZONE 'UTC'"))
    hours = [now + timedelta(minutes=opens_in), now + timedelta(minutes=opens_in + 1)]
    return Schedule.parse("-".join(f"{each:%H:%M}" for each in hours), 0)


@pytest.mark.parametrize(
    ("from_minutes", "to_minutes", "may_run"),
    [(-60, 60, True), (60, 120, False), (-120, -60, False), (60, -60, False), (-60, -120, True)],
)
def test_only_within_its_hours(session, blobs, learner, from_minutes, to_minutes, may_run):
    now = session.scalar(text("SELECT now() AT TIME ZONE 'UTC'"))
    hours = [now + timedelta(minutes=minutes) for minutes in (from_minutes, to_minutes)]
    schedule = Schedule.parse("-".join(f"{each:%H:%M}" for each in hours), 0)
    learn_at_once(session, blobs, ("heron",), schedule=schedule)
    session.commit()
    assert (claim(session) is not None) == may_run


def test_it_ends_with_its_hours(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    claimed = claim(session)
    assert queue.heartbeat(session, claimed.id, claimed.token, 30) == "ok"
    task = tasks.get_task(session, claimed.id)
    task.options = {**task.options, "hours": list(closed(session).hours)}
    session.commit()
    assert queue.heartbeat(session, claimed.id, claimed.token, 30) == "yield"


def test_published(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    learn_at_once(session, blobs, ("egret",))
    task, version = consolidate(session, learner)
    assert (version.number, version.stage, version.unconsolidated) == (3, "consolidated", [])
    assert (version.tasks, version.task_index) == ([1, 2], -1)
    assert (task.status, task.version, task.result["reason"]) == ("succeeded", 3, "It is better.")
    assert learners.live_version(session, learner.id) == 3
    assert pending(session, learner) is None
    # Tasks keep their numbers without gaps, and consolidations theirs.
    assert learn_at_once(session, blobs, ("ibis",)).index == 3
    assert pending(session, learner).index == -2


def test_declined(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    claimed = claim(session)
    result = {"adopted": False, "reason": "No better.", "details": {"gain": -0.1}}
    queue.decline(session, claimed.id, claimed.token, result)
    session.commit()
    task = tasks.get_task(session, claimed.id)
    assert (task.status, task.result, task.version) == ("declined", result, None)
    assert task.finished_at is not None
    told = [(event.type, event.data) for event in events.list_events(session, task.id)][-2:]
    assert told == [("declined", {"reason": "No better."}), ("end", {"status": "declined"})]
    # It is over, and what waits goes on waiting: for the next task, or for a person.
    assert claim(session) is None
    assert versions.get_version(session, learner.id, 1).unconsolidated == [1]
    with pytest.raises(TaskNotRetryableError):
        tasks.retry_task(session, task.id)
    learn_at_once(session, blobs, ("egret",))
    assert consolidations.tasks_of(session, pending(session, learner)) == [1, 2]


def test_a_fenced_one_does_no_harm(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    old = claim(session)
    queue.release_leases(session, "w")
    session.commit()
    new = claim(session, "other")
    assert (new.id, new.token) == (old.id, old.token + 1)
    new_version = make_consolidated(session, tasks.get_task(session, old.id))
    with pytest.raises(FencedError):
        queue.decline(session, old.id, old.token, {"reason": "Late."})
    with pytest.raises(FencedError):
        versions.publish(session, old.id, old.token, new_version)
    assert queue.heartbeat(session, old.id, old.token, 30) == "lost"


def test_cancelled_and_retried(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    claimed = claim(session)
    tasks.request_cancel(session, claimed.id)
    assert queue.heartbeat(session, claimed.id, claimed.token, 30) == "cancel"
    with pytest.raises(FencedError):
        queue.decline(session, claimed.id, claimed.token, {"reason": "Late."})
    queue.finish_cancelled(session, claimed.id, claimed.token)
    session.commit()
    assert claim(session) is None
    again = tasks.retry_task(session, claimed.id)
    session.commit()
    assert (again.status, claim(session).id) == ("queued", again.id)


def test_retried_it_starts_whatever_the_hour(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",), schedule=closed(session))
    cancelled = pending(session, learner)
    tasks.request_cancel(session, cancelled.id)
    tasks.retry_task(session, cancelled.id)
    session.commit()
    assert claim(session).id == cancelled.id


def test_retried_only_while_there_is_something_to_do(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    cancelled = pending(session, learner)
    tasks.request_cancel(session, cancelled.id)
    consolidations.request(session, "birds", schedule=AT_ONCE)
    with pytest.raises(TaskNotRetryableError, match="another"):
        tasks.retry_task(session, cancelled.id)
    consolidate(session, learner)
    with pytest.raises(NothingToConsolidateError):
        tasks.retry_task(session, cancelled.id)


def test_it_is_of_the_tasks_that_it_was_begun_with(session, blobs, learner):
    """As long as there is a checkpoint to go on from: without one it takes along what was learned meanwhile."""
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    for checkpoint, expected in (("c" * 64, [1]), (None, [1, 2])):
        claimed = claim(session)
        task = tasks.get_task(session, claimed.id)
        task.checkpoint = checkpoint
        queue.give_back(session, claimed.id, claimed.token)
        if checkpoint:
            learn_at_once(session, blobs, ("egret",))
        session.commit()
        assert consolidations.tasks_of(session, pending(session, learner)) == expected
    task, version = consolidate(session, learner)
    assert (task.options["tasks"], version.unconsolidated) == ([1, 2], [])


def test_it_is_configured_as_the_head_is_that_it_is_taken_up_on(session, blobs, learner):
    """What a task brought for itself meanwhile must not be undone by training on what came before."""
    learn_at_once(session, blobs, ("heron",))
    task = make_task(session, blobs, classes=("egret",), config={"threshold": 0.5})
    publish_task(session, task, unconsolidated=[1, 2])
    pending(session, learner).not_before = None
    taken_up, version = consolidate(session, learner)
    assert taken_up.config == version.config == {"threshold": 0.5}


def test_one_that_leaves_its_tasks_waiting_is_no_reason_for_another(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    _, version = consolidate(session, learner, unconsolidated=[1])
    assert version.unconsolidated == [1]
    assert pending(session, learner) is None


def test_what_came_meanwhile_is_queued_anew(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    claimed = claim(session)
    pending(session, learner).checkpoint = "c" * 64
    queue.give_back(session, claimed.id, claimed.token)
    learn_at_once(session, blobs, ("egret",))
    task, version = consolidate(session, learner)
    assert (task.options["tasks"], version.unconsolidated) == ([1], [2])
    assert (pending(session, learner).index, pending(session, learner).status) == (-2, "queued")


def test_without_the_images_that_were_deleted(session, blobs, learner):
    first = learn_at_once(session, blobs, ("heron",))
    second = learn_at_once(session, blobs, ("egret",))
    samples.drop_samples(session, first.id)
    session.commit()
    claimed = claim(session)
    assert tasks.get_task(session, claimed.id).options["tasks"] == [2]
    # Also while a worker has it: its next attempt does without them.
    samples.drop_samples(session, second.id)
    assert consolidations.tasks_of(session, tasks.get_task(session, claimed.id)) == []
    queue.decline(session, claimed.id, claimed.token, {"reason": "Their images are gone."})
    # They wait no more.
    with pytest.raises(NothingToConsolidateError):
        consolidations.request(session, "birds", schedule=AT_ONCE)
    learn_at_once(session, blobs, ("ibis",))
    assert consolidations.tasks_of(session, pending(session, learner)) == [3]


def test_they_come_in_the_order_they_were_learned(session, blobs, learner):
    for label in ("heron", "egret"):
        learn_at_once(session, blobs, (label,), schedule=BY_HAND)
    found = consolidations.learned_tasks(session, learner.id, [2, 1])
    assert [task.classes for task in found] == [["egret"], ["heron"]]


def test_quarantined_and_held_out_images_are_none_to_train_on(session, blobs, learner):
    task = learn_at_once(session, blobs, ("heron",), schedule=BY_HAND)
    session.execute(
        text("UPDATE samples SET quarantine = 'blank' WHERE task_id = :id AND split = 'train'"),
        {"id": task.id},
    )
    head = versions.get_version(session, learner.id, 1)
    assert consolidations.waiting_tasks(session, head) == []


def test_an_unlearning_takes_it_away_and_what_it_would_go_on_from(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    learn_at_once(session, blobs, ("egret",))
    session.commit()
    claimed = claim(session)
    pending(session, learner).checkpoint = "c" * 64
    queue.give_back(session, claimed.id, claimed.token)
    unlearning = tasks.add_unlearning(
        session, "birds", name=None, tasks=[1], classes=[], options={}, needs_images=False
    )
    session.commit()
    taken = claim(session)
    assert taken.id == unlearning.id
    left = make_new_version(
        session, unlearning, tasks=[2], classes=["egret"], unconsolidated=[2], accuracies=[]
    )
    versions.publish(session, unlearning.id, taken.token, left, AT_ONCE)
    session.commit()
    task = pending(session, learner)
    assert (task.id, task.checkpoint) == (claimed.id, None)
    assert consolidations.tasks_of(session, task) == [2]


def test_it_does_not_move_live_back_for_whoever_has_moved_it(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    learn_at_once(session, blobs, ("egret",))
    learners.set_alias(session, learner.id, 1)
    _, version = consolidate(session, learner)
    assert (learner.head_version, version.number) == (3, 3)
    assert learners.live_version(session, learner.id) == 1


def test_the_head_can_be_moved_while_one_waits_or_runs(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    learn_at_once(session, blobs, ("egret",))
    session.commit()
    claimed = claim(session)
    task = tasks.get_task(session, claimed.id)
    new_version = make_consolidated(session, task)
    assert not ancestry.if_head_moved(session, learner.id, 1).is_busy
    versions.move_head(session, learner.id, 1)
    with pytest.raises(StaleHeadError):
        versions.publish(session, claimed.id, claimed.token, new_version)
    queue.requeue_task(session, claimed.id, claimed.token, "internal", "Moved.", delay_s=0)
    session.commit()
    # It is taken up on what the head is now.
    assert consolidations.tasks_of(session, pending(session, learner)) == [1]
    consolidate(session, learner)
    statuses = [(task.index, task.status) for task in session.scalars(ordered(learner))]
    assert statuses == [(-1, "succeeded"), (1, "succeeded"), (2, "superseded")]
    # And back: the line that was left is the one that counts again.
    versions.move_head(session, learner.id, 2)
    statuses = [(task.index, task.status) for task in session.scalars(ordered(learner))]
    assert statuses == [(-1, "superseded"), (1, "succeeded"), (2, "succeeded")]
    moved = ancestry.if_head_moved(session, learner.id, 3)
    assert (moved.superseded, moved.restored) == ([2], [])
    assert accuracy.superseded_tasks(session, learner.id) == []


def ordered(learner):
    return select(TaskRow).where(TaskRow.learner_id == learner.id).order_by(TaskRow.index)


def test_what_leads_to_a_version_is_told_of_tasks_alone(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    learn_at_once(session, blobs, ("egret",))
    _, version = consolidate(session, learner)
    assert ancestry.brought(session, learner.id, 3) == {1: ["heron"], 2: ["egret"]}
    history = accuracy.history(session, learner.id)
    assert (history.tasks, history.versions) == ([1, 2], [1, 2, 3])
    provenance = bundles.read_provenance(session, version)
    assert [task.index for task in provenance.tasks] == [1, 2]
    table = learners.class_table(session, learner)
    assert [(row.label, row.task_index) for row in table] == [("heron", 1), ("egret", 2)]


def test_a_learner_goes_with_one_that_runs(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    session.commit()
    claimed = claim(session)
    learners.delete_learner(session, "birds")
    session.commit()
    assert queue.heartbeat(session, claimed.id, claimed.token, 30) == "lost"


def test_lists_depth_and_position_tell_them_apart(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    waiting = pending(session, learner)
    later = make_task(session, blobs, classes=("egret",))
    session.commit()
    assert [task.index for task in tasks.list_tasks(session).items] == [2, 1]
    listed = tasks.list_tasks(session, learner_name="birds", mode=CONSOLIDATE)
    assert [task.id for task in listed.items] == [waiting.id]
    depth = tasks.queue_depth(session)
    assert (depth.n_tasks, depth.n_consolidations) == (1, 1)
    assert [tasks.position(session, task) for task in (later, waiting)] == [1, 2]
    tasks.request_cancel(session, later.id)
    depth = tasks.queue_depth(session)
    assert (depth.n_tasks, depth.n_consolidations, depth.oldest_age_s) == (0, 1, 0)


def test_its_time_limit_counts_the_images_of_all_tasks(session, blobs, learner):
    learn_at_once(session, blobs, ("heron",))
    learn_at_once(session, blobs, ("egret",))
    task = pending(session, learner)
    assert time_limits.time_limit_s(session, task.id) == time_limits.limit_for(
        6, epochs=0, n_tasks=2
    )


def decline(session, learner):
    claimed = queue.claim(session, pending(session, learner).id, "w", 30)
    queue.decline(session, claimed.id, claimed.token, {"adopted": False, "reason": "no"})
    session.commit()


def test_what_was_tried_in_vain_too_often_is_left_to_who_asks_for_it(session, blobs, learner):
    for n, label in enumerate("abcd", start=1):
        learn_at_once(session, blobs, (label,), schedule=AT_ONCE)
        expected = list(range(max(1, n - consolidations.MOST_TRIES + 1), n + 1))
        assert consolidations.tasks_of(session, pending(session, learner)) == expected
        decline(session, learner)

    by_hand = consolidations.request(session, learner.name, schedule=AT_ONCE)

    assert consolidations.tasks_of(session, by_hand) == [1, 2, 3, 4]


def test_the_newest_tasks_come_first_where_there_are_many_images(
    session, blobs, learner, monkeypatch
):
    for label in "abc":
        learn_at_once(session, blobs, (label,), schedule=AT_ONCE)
    _, second, third = consolidations.learned_tasks(session, learner.id, [1, 2, 3])

    for most, expected in (
        (third.n_train + second.n_train, [2, 3]),
        (third.n_train + second.n_train - 1, [3]),
        (1, [3]),
    ):
        monkeypatch.setattr(consolidations, "MOST_IMAGES", most)
        assert consolidations.tasks_of(session, pending(session, learner)) == expected
