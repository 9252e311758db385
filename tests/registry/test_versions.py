import pytest
from sqlalchemy.exc import DBAPIError

from registry import accuracy, events, learners, queue, tasks, versions
from registry.errors import (
    FencedError,
    LearnerNotFoundError,
    StaleHeadError,
    TaskNotHeldError,
    VersionNotFoundError,
)
from registry.tables import AccuracyRow, VersionRow
from registry.versions import LiveVersion, NewAccuracy
from tests.factories import make_learner, make_new_version, make_task, publish_task


@pytest.fixture
def task(session, blobs):
    make_learner(session)
    return make_task(session, blobs)


def hold(session, task):
    claimed = queue.claim(session, task.id, "w", 30)
    versions.hold(session, task.id, claimed.token, make_new_version(session, task), "It forgets.")


def test_publish_is_all_of_it(session, task):
    learner = learners.get_learner_by_id(session, task.learner_id)
    version = publish_task(session, task)
    assert (version.number, version.parent, version.task_index) == (1, None, 1)
    assert version.classes == ["heron", "egret"]
    published = tasks.get_task(session, task.id)
    assert (published.status, published.version, published.error) == ("succeeded", 1, None)
    assert published.progress["fraction"] == 1.0
    assert published.finished_at is not None
    assert learner.head_version == learners.live_version(session, learner.id) == 1
    assert accuracy.history(session, learner.id).matrix == [[0.9]]


def test_versions_are_numbered_without_gaps(session, blobs, task):
    publish_task(session, task)
    failed = make_task(session, blobs, classes=("crane",))
    claimed = queue.claim(session, failed.id, "w", 30)
    queue.fail_task(session, failed.id, claimed.token, "diverged", "It did.")
    after = publish_task(session, make_task(session, blobs, classes=("stork",)))
    assert (after.number, after.parent, after.task_index) == (2, 1, 3)
    listed = versions.list_versions(session, task.learner_id)
    assert [version.number for version in listed.items] == [2, 1]


def test_a_published_version_never_changes(session, task):
    version = publish_task(session, task)
    version.manifest_sha256 = "0" * 64
    with pytest.raises(DBAPIError, match="rows of versions never change"):
        session.flush()


def test_publish_refuses_what_was_built_on_another_version(session, blobs, task):
    publish_task(session, task)
    second = make_task(session, blobs, classes=("crane",))
    claimed = queue.claim(session, second.id, "w", 30)
    stale = make_new_version(session, second, parent=0)
    with pytest.raises(StaleHeadError):
        versions.publish(session, second.id, claimed.token, stale)


def test_publish_refuses_a_task_that_is_being_cancelled(session, task):
    claimed = queue.claim(session, task.id, "w", 30)
    tasks.request_cancel(session, task.id)
    with pytest.raises(FencedError):
        versions.publish(session, task.id, claimed.token, make_new_version(session, task))


def test_a_publish_that_is_rolled_back_leaves_no_trace(session_factory, blobs):
    with session_factory.begin() as session:
        learner = make_learner(session)
        task = make_task(session, blobs)
        claimed = queue.claim(session, task.id, "w", 30)
    with session_factory() as session:
        versions.publish(session, task.id, claimed.token, make_new_version(session, task))
        session.rollback()
    with session_factory() as session:
        assert session.query(VersionRow).count() == session.query(AccuracyRow).count() == 0
        assert learners.get_learner_by_id(session, learner.id).head_version == 0
        assert tasks.get_task(session, task.id).status == "running"


def test_a_held_task_serves_nothing_until_it_is_published(session, task):
    hold(session, task)
    held = tasks.get_task(session, task.id)
    assert (held.status, held.error) == ("held", {"code": "held", "detail": "It forgets."})
    assert learners.live_version(session, task.learner_id) == 0
    assert [event.type for event in events.list_events(session, task.id)][-2:] == [
        "evaluated",
        "end",
    ]
    version = versions.publish_held(session, task.id)
    assert version.number == learners.live_version(session, task.learner_id) == 1
    assert accuracy.history(session, task.learner_id).matrix == [[0.9]]
    published = tasks.get_task(session, task.id)
    assert (published.status, published.pending_version, published.error) == (
        "succeeded",
        None,
        None,
    )
    assert [event.type for event in events.list_events(session, task.id)][-2:] == [
        "published",
        "end",
    ]


def test_publish_held_refuses(session, blobs, task):
    with pytest.raises(TaskNotHeldError):
        versions.publish_held(session, task.id)
    hold(session, task)
    publish_task(session, make_task(session, blobs, classes=("crane",)))
    with pytest.raises(StaleHeadError):
        versions.publish_held(session, task.id)
    # It can still be cancelled and learned again on the new head.
    tasks.request_cancel(session, task.id)
    assert tasks.retry_task(session, task.id).status == "queued"


def test_get_and_list(session, blobs, task):
    publish_task(session, task)
    publish_task(session, make_task(session, blobs, classes=("crane",)))
    assert versions.get_version(session, task.learner_id, 2).parent == 1
    with pytest.raises(VersionNotFoundError):
        versions.get_version(session, task.learner_id, 3)
    first = versions.list_versions(session, task.learner_id, limit=1)
    second = versions.list_versions(session, task.learner_id, limit=1, cursor=first.next_cursor)
    assert [page.items[0].number for page in (first, second)] == [2, 1]
    assert second.next_cursor is None


def test_live_versions_tell_what_to_serve(session, blobs, task):
    make_learner(session, "untaught")
    assert versions.live_versions(session) == []
    version = publish_task(session, task)
    live = LiveVersion(
        learner_id=task.learner_id,
        learner_name="birds",
        strategy="simplecil",
        backbone="tiny",
        config={},
        version=1,
        manifest_sha256=version.manifest_sha256,
        halved_to=288,
    )
    assert versions.live_versions(session) == [live]
    publish_task(session, make_task(session, blobs, classes=("crane",)))
    assert versions.find_live_version(session, "birds", 1) == live
    assert versions.find_live_version(session, "birds").version == 2
    assert versions.find_live_version(session, "untaught") is None
    learners.set_alias(session, task.learner_id, 1)
    assert versions.live_versions(session) == [live]
    with pytest.raises(VersionNotFoundError):
        versions.find_live_version(session, "birds", 9)
    with pytest.raises(LearnerNotFoundError):
        versions.find_live_version(session, "nobody")


def test_a_task_without_held_out_images_has_no_accuracy(session, task):
    publish_task(session, task, accuracies=[NewAccuracy(1, 0, 0, 0, 0, 0.0)])
    history = accuracy.history(session, task.learner_id)
    assert (history.matrix, history.last) == ([[None]], None)
