import hashlib
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from registry import accuracy, events, learners, queue, references, samples, tasks, versions
from registry.errors import (
    LabelKnownError,
    LearnerBusyError,
    NothingLearnedError,
    NothingWouldRemainError,
    StaleHeadError,
    TaskNotRetryableError,
    TrainingImagesGoneError,
    UnknownContentError,
    VersionErasedError,
    VersionNotFoundError,
)
from registry.upkeep.collection import collect
from registry.upkeep.inspection import inspect_rows
from registry.versions import NewAccuracy
from tests.factories import make_learner, make_new_version, make_task, publish_task, put_artifact


@pytest.fixture
def learner(session, blobs):
    """A learner of two versions: heron and egret, then crane."""
    row = make_learner(session)
    teach(session, blobs, "heron", "egret")
    teach(session, blobs, "crane")
    return row


def teach(session, blobs, *classes, mode="new_classes", **version):
    task = make_task(session, blobs, classes=classes, n_train=2, n_eval=1, mode=mode)
    publish_task(session, task, **version)
    return task


def add(session, tasks_=(), classes=(), *, needs_images=False, **options):
    return tasks.add_unlearning(
        session,
        "birds",
        name=None,
        tasks=tasks_,
        classes=classes,
        options={},
        needs_images=needs_images,
        **options,
    )


def unlearn(session, tasks_=(), classes=(), *, left, knows, **version):
    """Queue it and publish what a worker would."""
    task = add(session, tasks_, classes)
    publish_task(session, task, classes=left, tasks=knows, **version)
    return tasks.get_task(session, task.id)


def newest(session):
    return tasks.list_tasks(session, learner_name="birds").items[0].id


def statuses(session):
    page = tasks.list_tasks(session, learner_name="birds")
    return [task.status for task in reversed(page.items)]


def sample_labels(session, task):
    return [sample.label for sample in samples.list_samples(session, task.id).items]


def test_it_waits_its_turn_like_any_task(session, blobs, learner):
    waiting = make_task(session, blobs, classes=("stork",))
    task = add(session, [1])
    assert (task.index, task.mode, task.status) == (4, "unlearn", "queued")
    assert (task.classes, task.n_train, task.n_eval) == (["heron", "egret"], 0, 0)
    assert queue.claim(session, task.id, "w", 30) is None
    publish_task(session, waiting)
    assert queue.claim(session, task.id, "w", 30) is not None


def test_what_goes_of_a_class_that_two_tasks_brought(session, blobs, learner):
    teach(session, blobs, "heron", "stork", mode="extend")
    # Heron stays with what task 1 gave.
    assert add(session, [3]).classes == ["stork"]


def test_refuses_what_is_not_known_by_its_place(session, blobs, learner):
    with pytest.raises(UnknownContentError) as refused:
        add(session, [1, 7], ["crane", "dodo", "auk"])
    assert (refused.value.tasks, refused.value.classes) == ([1], [1, 2])
    waiting = make_task(session, blobs, classes=("stork",))
    with pytest.raises(UnknownContentError):
        add(session, [waiting.index])
    add(session, classes=["crane"])
    with pytest.raises(UnknownContentError):
        add(session, [2])


def test_refuses_to_leave_nothing(session, learner):
    with pytest.raises(NothingWouldRemainError):
        add(session, [1], ["crane"])
    add(session, [1])
    with pytest.raises(UnknownContentError):
        add(session, [1, 2])
    with pytest.raises(NothingWouldRemainError):
        add(session, [2])


def test_refuses_where_nothing_was_learned(session):
    make_learner(session)
    with pytest.raises(NothingLearnedError):
        add(session, [1])


def test_refuses_another_head_before_all_else(session, learner):
    with pytest.raises(StaleHeadError):
        add(session, [99], expected_head_version=1)


def test_refuses_when_images_are_needed_and_gone(session, learner):
    first = tasks.list_tasks(session, learner_name="birds").items[-1]
    add(session, classes=["crane"], needs_images=True)
    samples.drop_samples(session, first.id)
    with pytest.raises(TrainingImagesGoneError, match="task 1"):
        add(session, classes=["heron"], needs_images=True)
    assert add(session, classes=["heron"]).classes == ["heron"]


def test_publishing_erases_every_version_that_held_it(session, blobs, learner):
    teach(session, blobs, "stork")
    done = unlearn(session, [2], left=["heron", "egret", "stork"], knows=[1, 3])
    assert (done.status, done.version, done.classes) == ("succeeded", 4, ["crane"])
    rows = {n: versions.get_version(session, learner.id, n) for n in (1, 2, 3, 4)}
    session.expire_all()
    assert [n for n, row in rows.items() if row.erased_at is not None] == [2, 3]
    assert versions.address_of(rows[1])
    assert references.manifests(session) == {rows[1].manifest_sha256, rows[4].manifest_sha256}
    # What stays of an erased one is its record.
    assert rows[3].classes == ["heron", "egret", "crane", "stork"]
    for refused in (
        lambda: versions.address_of(rows[2]),
        lambda: versions.find_live_version(session, "birds", 2),
        lambda: learners.set_alias(session, learner.id, 3),
        lambda: versions.move_head(session, learner.id, 3),
    ):
        with pytest.raises(VersionErasedError):
            refused()
    assert versions.erased_among(session, [(learner.id, n) for n in rows]) == {
        (learner.id, 2),
        (learner.id, 3),
    }
    assert versions.erased_among(session, []) == set()
    assert all(check.state == "ok" for check in inspect_rows(session) if check.name != "workers")


def test_the_files_go_with_the_next_collection(session_factory, blobs):
    with session_factory.begin() as session:
        make_learner(session)
        shared, first, second = b"both have it", b"heron", b"heron and crane"
        teach(session, blobs, "heron", manifest_sha256=put_artifact(blobs, shared, first))
        teach(session, blobs, "crane", manifest_sha256=put_artifact(blobs, shared, second))
        kept = put_artifact(blobs, shared, first)
        images = {
            row.blob_sha256 for row in samples.task_samples(session, newest(session), "train")
        }
        unlearn(session, [2], left=["heron"], knows=[1], manifest_sha256=kept)
    collect(session_factory, blobs, grace=timedelta(0))
    gone = {*images, hashlib.sha256(second).hexdigest()}
    assert blobs.missing(gone) == gone
    assert (
        blobs.missing({kept, *(hashlib.sha256(data).hexdigest() for data in (shared, first))})
        == set()
    )


def test_an_erased_version_can_neither_change_nor_come_back(session, learner):
    unlearn(session, [2], left=["heron", "egret"], knows=[1])
    session.commit()
    for change in ({"manifest_sha256": "f" * 64, "erased_at": None}, {"classes": ["dodo"]}):
        version = versions.get_version(session, learner.id, 2)
        for name, value in change.items():
            setattr(version, name, value)
        with pytest.raises(DBAPIError, match="rows of versions never change"):
            session.flush()
        session.rollback()


def test_images_go_with_what_they_taught(session, blobs, learner):
    third = teach(session, blobs, "heron", "stork", mode="extend")
    never_learned = make_task(session, blobs, classes=("heron",), mode="extend", n_train=1)
    tasks.request_cancel(session, never_learned.id)
    unlearn(session, classes=["heron"], left=["egret", "crane", "stork"], knows=[1, 2, 3])
    first, second = (row for row in tasks.list_tasks(session, learner_name="birds").items[:2:-1])
    assert set(sample_labels(session, first)) == {"egret"}
    assert set(sample_labels(session, second)) == {"crane"}
    assert set(sample_labels(session, third)) == {"stork"}
    assert set(sample_labels(session, never_learned)) == {"heron"}
    unlearn(session, [3], left=["egret", "crane"], knows=[1, 2])
    assert sample_labels(session, third) == []


def test_what_was_unlearned_may_be_learned_again(session, blobs, learner):
    unlearn(session, classes=["crane"], left=["heron", "egret"], knows=[1])
    again = teach(session, blobs, "crane")
    assert tasks.get_task(session, again.id).version == 4
    with pytest.raises(LabelKnownError):
        make_task(session, blobs, classes=("crane",))


def test_held_results_from_before_are_cancelled(session, blobs, learner):
    held = make_task(session, blobs, classes=("stork",))
    claimed = queue.claim(session, held.id, "w", 30)
    versions.hold(session, held.id, claimed.token, make_new_version(session, held), "It forgets.")
    unlearn(session, [2], left=["heron", "egret"], knows=[1])
    held = tasks.get_task(session, held.id)
    assert (held.status, held.pending_version) == ("cancelled", None)
    assert tasks.retry_task(session, held.id).status == "queued"


def test_a_held_unlearning_takes_nothing_away_until_it_is_published(session, learner):
    task = add(session, [2])
    claimed = queue.claim(session, task.id, "w", 30)
    new = make_new_version(session, task, classes=["heron", "egret"], tasks=[1])
    versions.hold(session, task.id, claimed.token, new, "It forgets.")
    assert versions.find_live_version(session, "birds", 2) is not None
    assert versions.publish_held(session, task.id).tasks == [1]
    with pytest.raises(VersionErasedError):
        versions.find_live_version(session, "birds", 2)


def test_a_cancelled_one_can_be_retried_while_there_is_something_to_unlearn(session, learner):
    task = add(session, classes=["crane"])
    tasks.request_cancel(session, task.id)
    assert tasks.retry_task(session, task.id).status == "queued"
    tasks.request_cancel(session, task.id)
    unlearn(session, [2], left=["heron", "egret"], knows=[1])
    with pytest.raises(UnknownContentError):
        tasks.retry_task(session, task.id)


def test_the_accuracy_of_the_others_stays_readable(session, blobs, learner):
    cells = [NewAccuracy(1, 10, 8, 0, 0, 1.0), NewAccuracy(3, 10, 7, 0, 0, 1.0)]
    teach(
        session,
        blobs,
        "stork",
        accuracies=[*cells, NewAccuracy(2, 10, 2, 0, 0, 1.0)],
    )
    new = {"left": ["heron", "egret", "stork"], "knows": [1, 3]}
    unlearn(session, [2], **new, accuracies=cells)
    history = accuracy.history(session, learner.id)
    assert (history.tasks, history.versions) == ([1, 2, 3], [1, 2, 3, 4])
    assert history.matrix == [
        [0.9, None, None],
        [None, 0.9, None],
        [0.8, 0.2, 0.7],
        [0.8, None, 0.7],
    ]
    assert (history.unlearned, history.n_known) == ([2], 2)
    assert history.plasticity == [0.9, 0.9, 0.7, None]
    assert history.stability[3] == history.last == pytest.approx(0.75)
    # Of task 1 a tenth, of task 3 nothing; task 2 was not forgotten, but taken out.
    assert history.forgetting == pytest.approx(0.05)
    assert history.backward_transfer == pytest.approx(-0.05)


def test_moving_the_head_back_supersedes_what_came_after(session, blobs, learner):
    teach(session, blobs, "stork")
    versions.move_head(session, learner.id, 1)
    assert learners.get_learner(session, "birds").head_version == 1
    assert statuses(session) == ["succeeded", "superseded", "superseded"]
    assert accuracy.history(session, learner.id).tasks == [1]
    assert accuracy.superseded_tasks(session, learner.id) == [2, 3]
    again = teach(session, blobs, "crane")
    version = versions.get_version(session, learner.id, 4)
    assert (version.parent, version.tasks, again.version) == (1, [1, 4], 4)
    superseded = tasks.list_tasks(session, learner_name="birds").items[1]
    last = events.list_events(session, superseded.id)[-1]
    assert (last.type, last.data) == ("end", {"status": "superseded", "version": 3})
    with pytest.raises(TaskNotRetryableError):
        tasks.retry_task(session, superseded.id)
    assert all(check.state == "ok" for check in inspect_rows(session) if check.name != "workers")


def test_moving_the_head_forward_takes_the_other_line(session, blobs, learner):
    versions.move_head(session, learner.id, 1)
    teach(session, blobs, "stork")
    versions.move_head(session, learner.id, 2)
    assert statuses(session) == ["succeeded", "succeeded", "superseded"]
    versions.move_head(session, learner.id, 3)
    assert statuses(session) == ["succeeded", "superseded", "succeeded"]
    assert accuracy.history(session, learner.id).versions == [1, 3]


def test_unlearning_reaches_the_lines_beside(session, blobs, learner):
    versions.move_head(session, learner.id, 1)
    teach(session, blobs, "crane")
    unlearn(session, classes=["crane"], left=["heron", "egret"], knows=[1])
    for number in (2, 3):
        with pytest.raises(VersionErasedError):
            versions.find_live_version(session, "birds", number)
    for task in tasks.list_tasks(session, learner_name="birds").items[1:3]:
        assert sample_labels(session, task) == []


def test_the_head_stays_while_a_task_waits_or_for_an_unknown_version(session, blobs, learner):
    with pytest.raises(VersionNotFoundError):
        versions.move_head(session, learner.id, 9)
    make_task(session, blobs, classes=("stork",))
    with pytest.raises(LearnerBusyError):
        versions.move_head(session, learner.id, 1)


def test_forgetting_beside_an_abandoned_line(session, blobs, learner):
    versions.move_head(session, learner.id, 1)
    task = make_task(session, blobs, classes=("stork",))
    measured = [NewAccuracy(1, 10, 5, 0, 0, 1.0), NewAccuracy(3, 10, 10, 0, 0, 1.0)]
    new = make_new_version(session, task, accuracies=measured)
    assert accuracy.forgetting_if_published(session, learner.id, new).value == pytest.approx(0.4)
