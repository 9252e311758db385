import pytest

from registry import learners, queue
from registry.errors import (
    AliasMovedError,
    LearnerBusyError,
    LearnerExistsError,
    LearnerNotFoundError,
    VersionNotFoundError,
)
from registry.learners import ClassInfo
from registry.tables import (
    AccuracyRow,
    AliasRow,
    EventRow,
    LearnerRow,
    SampleRow,
    TaskRow,
    VersionRow,
)
from tests.factories import make_learner, make_task, publish_task


def test_create_and_get(session):
    created = learners.create_learner(
        session,
        "birds",
        strategy="artsy",
        backbone="bundled",
        config={"a": 1},
        halved_to=300,
        metadata={"x": "y"},
    )
    learner = learners.get_learner(session, "birds")
    assert learner is created
    assert (learner.strategy, learner.backbone, learner.config) == ("artsy", "bundled", {"a": 1})
    assert learner.halved_to == 300
    assert (learner.metadata_, learner.head_version, learner.last_task_index) == ({"x": "y"}, 0, 0)
    assert learner.created_at.utcoffset().total_seconds() == 0
    assert learners.get_learner_by_id(session, learner.id) is created


def test_a_name_is_taken_once(session):
    make_learner(session)
    with pytest.raises(LearnerExistsError):
        make_learner(session)
    # The transaction goes on: nothing was broken by the refusal.
    assert learners.get_learner(session, "birds")


def test_not_found(session):
    with pytest.raises(LearnerNotFoundError):
        learners.get_learner(session, "nobody")
    with pytest.raises(LearnerNotFoundError):
        learners.get_learner_by_id(session, "lrn_x")


def test_list_by_name_in_pages(session):
    for name in ("c", "a", "d", "b", "e"):
        make_learner(session, name)
    names, cursor = [], None
    while True:
        page = learners.list_learners(session, limit=2, cursor=cursor)
        names.append([learner.name for learner in page.items])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert names == [["a", "b"], ["c", "d"], ["e"]]


def test_update_metadata_replaces_it(session):
    make_learner(session)
    learners.update_metadata(session, "birds", {"a": 1})
    assert learners.update_metadata(session, "birds", {"b": [2]}).metadata_ == {"b": [2]}


def test_delete_takes_everything_with_it(session, blobs):
    make_learner(session)
    publish_task(session, make_task(session, blobs))
    learners.delete_learner(session, "birds")
    for table in (LearnerRow, TaskRow, SampleRow, VersionRow, AliasRow, AccuracyRow, EventRow):
        assert session.query(table).count() == 0


def test_delete_refuses_while_a_task_runs(session, blobs):
    make_learner(session)
    make_task(session, blobs)
    assert queue.claim_next(session, "w", 30)
    with pytest.raises(LearnerBusyError):
        learners.delete_learner(session, "birds")


def test_alias_moves_back_and_forth(session, blobs):
    learner = make_learner(session)
    assert learners.get_alias(session, learner.id) is None
    assert learners.live_version(session, learner.id) == 0
    publish_task(session, make_task(session, blobs))
    publish_task(session, make_task(session, blobs, classes=("crane",)))
    assert learners.live_version(session, learner.id) == 2
    assert learners.set_alias(session, learner.id, 1).version == 1
    assert learners.live_version(session, learner.id) == 1
    assert learners.set_alias(session, learner.id, 2, expected=1).version == 2
    assert learners.set_alias(session, learner.id, 1, name="best", expected=0).name == "best"


def test_alias_refuses(session, blobs):
    learner = make_learner(session)
    publish_task(session, make_task(session, blobs))
    with pytest.raises(VersionNotFoundError):
        learners.set_alias(session, learner.id, 2)
    with pytest.raises(AliasMovedError):
        learners.set_alias(session, learner.id, 1, expected=7)
    with pytest.raises(LearnerNotFoundError):
        learners.set_alias(session, "lrn_x", 1)


def test_class_table_follows_the_live_version(session, blobs):
    learner = make_learner(session)
    assert learners.class_table(session, learner) == []
    publish_task(session, make_task(session, blobs))
    more = make_task(session, blobs, classes=("crane", "heron"), mode="extend", n_train=2, n_eval=1)
    publish_task(session, more)
    assert learners.class_table(session, learner) == [
        ClassInfo("heron", 1, 8, 4, "heron", False),
        ClassInfo("egret", 1, 6, 3, "egret", False),
        ClassInfo("crane", 2, 2, 1, "crane", False),
    ]
    learners.set_alias(session, learner.id, 1)
    assert learners.class_table(session, learner) == [
        ClassInfo("heron", 1, 6, 3, "heron", False),
        ClassInfo("egret", 1, 6, 3, "egret", False),
    ]
