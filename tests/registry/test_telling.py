"""What subscribers are told of learners: in the same transaction, and by their rules."""

import pytest
from sqlalchemy import update

from registry import classes, deliveries, queue, tasks, versions
from registry.notices import ACCURACY_DROPPED, TASK_ENDED
from registry.tables import TaskRow
from registry.telling import task_ended
from registry.versions import NewAccuracy
from tests.factories import (
    make_learner,
    make_new_version,
    make_subscription,
    make_task,
    publish_task,
)


@pytest.fixture
def learner(session):
    return make_learner(session)


def told(session, subscription):
    return [
        (row.event, row.data)
        for row in reversed(deliveries.list_of(session, subscription.id).items)
    ]


def test_each_end_of_a_task_is_told(session, blobs, learner):
    pond = make_subscription(session, TASK_ENDED)
    publish_task(session, make_task(session, blobs))
    failing = make_task(session, blobs, classes=("crane",))
    claimed = queue.claim(session, failing.id, "tests", 30)
    queue.fail_task(session, failing.id, claimed.token, "out-of-memory", "There is no room.")
    tasks.request_cancel(session, make_task(session, blobs, classes=("ibis",)).id)
    held = make_task(session, blobs, classes=("owl",))
    claimed = queue.claim(session, held.id, "tests", 30)
    versions.hold(session, held.id, claimed.token, make_new_version(session, held), "It forgets.")
    found = [data for _, data in told(session, pond)]
    assert [(data["index"], data["status"]) for data in found] == [
        (1, "succeeded"),
        (2, "failed"),
        (3, "cancelled"),
        (4, "held"),
    ]
    assert (found[0]["version"], found[0]["classes"]) == (1, ["heron", "egret"])
    assert found[1]["error"] == {"code": "out-of-memory", "detail": "There is no room."}
    assert {data["learner"] for data in found} == {"birds"}


def test_only_the_ends_that_the_rule_wants_are_told(session, blobs, learner):
    pond = make_subscription(session, TASK_ENDED, statuses=["cancelled"])
    publish_task(session, make_task(session, blobs))
    tasks.request_cancel(session, make_task(session, blobs, classes=("ibis",)).id)
    assert [data["status"] for _, data in told(session, pond)] == ["cancelled"]


def test_what_is_rolled_back_is_not_told(session, blobs, learner):
    pond = make_subscription(session)
    task = make_task(session, blobs)
    session.commit()
    tasks.request_cancel(session, task.id)
    assert told(session, pond)
    session.rollback()
    assert not told(session, pond)


def test_a_rollback_to_another_version_is_no_end_of_a_task(session, blobs, learner):
    publish_task(session, make_task(session, blobs))
    publish_task(session, make_task(session, blobs, classes=("crane",)))
    pond = make_subscription(session, TASK_ENDED)
    versions.move_head(session, learner.id, 1)
    versions.move_head(session, learner.id, 2)
    assert told(session, pond) == []


def measured(index, n, right):
    return NewAccuracy(index, n, right, 0, 0, 1.0)


def counted(right, n):
    return {"confusion": {"1": {"heron": {"heron": right, "egret": n - right}}}}


def test_a_task_and_a_class_that_are_known_less_well_are_told(session, blobs, learner):
    pond = make_subscription(session, ACCURACY_DROPPED)
    patient = make_subscription(session, ACCURACY_DROPPED, min_drop=0.3)
    first = make_task(session, blobs)
    publish_task(session, first, accuracies=[measured(1, 200, 190)], metrics=counted(98, 100))
    assert told(session, pond) == []
    second = make_task(session, blobs, classes=("crane",))
    accuracies = [measured(1, 200, 150), measured(2, 50, 50)]
    publish_task(session, second, accuracies=accuracies, metrics=counted(70, 100))
    [(event, data)] = told(session, pond)
    assert (event, data["version"], data["before"]) == (ACCURACY_DROPPED, 2, 1)
    assert data["drops"] == [
        {"task": 1, "before": 0.95, "now": 0.75, "drop": 0.2, "n": 200},
        {"class": "heron", "before": 0.98, "now": 0.7, "drop": 0.28, "n": 100},
    ]
    assert told(session, patient) == []


@pytest.mark.parametrize(("n", "before", "now"), [(10, 10, 8), (200, 190, 186), (200, 150, 190)])
def test_what_a_few_images_say_is_no_news(session, blobs, learner, n, before, now):
    pond = make_subscription(session, ACCURACY_DROPPED, min_drop=0.01)
    publish_task(session, make_task(session, blobs), accuracies=[measured(1, n, before)])
    task = make_task(session, blobs, classes=("crane",))
    publish_task(session, task, accuracies=[measured(1, n, now)])
    assert told(session, pond) == []


def test_classes_are_told_by_the_names_that_they_have(session, blobs, learner):
    pond = make_subscription(session, TASK_ENDED)
    publish_task(session, make_task(session, blobs))
    classes.rename(session, learner, "heron", "Grey heron")
    task = make_task(session, blobs, classes=("crane",))
    again = tasks.request_cancel(session, task.id)
    assert again.status == "cancelled"
    session.execute(update(TaskRow).where(TaskRow.id == task.id).values(classes=["heron", "crane"]))
    session.refresh(task)
    task_ended(session, task, task.status)
    assert told(session, pond)[-1][1]["classes"] == ["Grey heron", "crane"]


def test_with_a_class_go_the_messages_that_name_it(session, blobs, learner):
    pond = make_subscription(session, TASK_ENDED)
    publish_task(session, make_task(session, blobs))
    publish_task(session, make_task(session, blobs, classes=("crane",)))
    task = tasks.add_unlearning(
        session, "birds", name=None, tasks=[], classes=["heron"], options={}, needs_images=False
    )
    publish_task(session, task, classes=["egret", "crane"], tasks=[1, 2])
    found = [data for _, data in told(session, pond)]
    assert [data["classes"] for data in found] == [["crane"], ["heron"]]
    assert found[-1]["task"] == task.id, "that it was unlearned is told"


def test_a_class_that_is_hidden_is_not_told_of(session, blobs, learner):
    pond = make_subscription(session, ACCURACY_DROPPED)
    right = {"confusion": {"1": {"heron": {"heron": 95, "egret": 5}}}}
    publish_task(session, make_task(session, blobs), metrics=right)
    classes.hide(session, learner, "heron", is_hidden=True)
    wrong = {"confusion": {"1": {"heron": {"heron": 30, "egret": 70}}}}
    publish_task(session, make_task(session, blobs, classes=("crane",)), metrics=wrong)
    assert told(session, pond) == []
