"""Whether anything is wrong: each kind of finding is provoked in the real database, and nothing else is found."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from registry import attention, keys, workers
from registry.statuses import TaskStatus
from registry.tables import EventRow, LearnerRow, TaskRow
from registry.versions import NewAccuracy
from service.use_cases.findings import RELEASE
from tests.factories import make_learner, make_task, publish_task
from tests.waiting import wait_until


@pytest.fixture
def well(client, session):
    """A service that somebody learns for, so that nothing is wrong yet."""
    announce(session, "gpu-1")
    wait_until(lambda: client.get("/v1/health").json()["is_well"])
    return client


def announce(session, name, *, version=RELEASE):
    where = {"host": "box", "pid": 7, "device": "cpu", "slots": 1}
    workers.announce(session, name, kind="celery", version=version, **where)
    session.commit()


def findings(client):
    """Return what is found, but for versions that do not load: those that the tests publish have no files."""
    answer = client.get("/v1/health")
    assert answer.status_code == 200
    return [one for one in answer.json()["findings"] if one["code"] != "version-not-loaded"]


def test_a_version_that_cannot_be_loaded_is_told(well, session, blobs):
    make_learner(session)
    publish_task(session, make_task(session, blobs))
    session.commit()

    def told():
        found = well.get("/v1/health").json()["findings"]
        return [one["severity"] for one in found if one["code"] == "version-not-loaded"]

    wait_until(told)
    assert told() == ["broken"]


def only(client):
    (found,) = findings(client)
    assert found["sentence"].endswith(".")
    assert found["next_step"]
    return found


def test_when_nothing_is_wrong_it_says_so_and_when_it_looked(well):
    health = well.get("/v1/health").json()
    assert (health["is_well"], health["sentence"], health["findings"]) == (True, "All is well.", [])
    assert health["checked_at"]


def test_without_a_worker_nothing_is_learned(client):
    wait_until(lambda: not client.get("/v1/health").json()["is_well"])
    assert (only(client)["code"], only(client)["severity"]) == ("worker", "broken")


def test_a_task_that_is_forgotten_by_more_than_chance_is_told(well, session, blobs):
    make_learner(session)
    publish_task(
        session, make_task(session, blobs), accuracies=[NewAccuracy(1, 200, 190, 0, 0, 1.0)]
    )
    second = make_task(session, blobs, classes=("crane",))
    publish_task(
        session,
        second,
        accuracies=[NewAccuracy(1, 200, 120, 0, 0, 1.0), NewAccuracy(2, 9, 9, 0, 0, 1.0)],
    )
    session.commit()
    found = only(well)
    assert (found["code"], found["severity"], found["learner"]) == ("forgotten", "warning", "birds")
    assert (
        "birds answers task 1 worse than when it was learned: "
        "60% of 200 images now, 95% of 200 then." in found["sentence"]
    )


def test_a_difference_that_chance_explains_is_not(well, session, blobs):
    make_learner(session)
    publish_task(session, make_task(session, blobs), accuracies=[NewAccuracy(1, 10, 9, 0, 0, 1.0)])
    second = make_task(session, blobs, classes=("crane",))
    publish_task(session, second, accuracies=[NewAccuracy(1, 10, 8, 0, 0, 1.0)])
    session.commit()
    assert findings(well) == []


def test_a_class_that_is_forgotten_is_told_by_the_name_it_has_and_not_while_it_is_hidden(
    well, session, blobs
):
    make_learner(session)
    right = {"confusion": {"1": {"heron": {"heron": 95, "egret": 5}}}}
    publish_task(session, make_task(session, blobs), metrics=right)
    wrong = {"confusion": {"1": {"heron": {"heron": 30, "egret": 70}}}}
    publish_task(session, make_task(session, blobs, classes=("crane",)), metrics=wrong)
    session.commit()
    assert "birds answers the class heron worse" in only(well)["sentence"]
    path = "/v1/learners/birds/classes/heron"
    assert well.patch(path, json={"name": "Grey heron"}).status_code == 200
    assert "the class Grey heron worse" in only(well)["sentence"]
    assert well.patch(path, json={"hidden": True}).status_code == 200
    assert findings(well) == []


def test_failed_and_held_tasks_are_told_until_somebody_acts(well, session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    ended = {"status": TaskStatus.FAILED, "finished_at": func.now()}
    session.execute(update(TaskRow).where(TaskRow.id == task.id).values(**ended))
    session.commit()
    assert (only(well)["code"], only(well)["learner"]) == ("tasks-failed", "birds")
    assert well.post(f"/v1/tasks/{task.id}/retry").status_code == 202
    assert findings(well) == []
    held = update(TaskRow).where(TaskRow.id == task.id).values(status=TaskStatus.HELD)
    session.execute(held)
    session.commit()
    assert (only(well)["code"], only(well)["severity"]) == ("tasks-held", "decision")


def test_a_task_that_waits_longer_than_usual_is_told(well, session, blobs):
    make_learner(session)
    for i in range(10):
        publish_task(session, make_task(session, blobs, classes=(f"class-{i}",)))
    waiting = make_task(session, blobs, classes=("late",))
    session.commit()
    assert findings(well) == []
    long_ago = func.now() - timedelta(minutes=20)
    session.execute(update(TaskRow).where(TaskRow.id == waiting.id).values(created_at=long_ago))
    session.commit()
    assert findings(well) == [], "it was queued again a moment ago"
    queued = update(EventRow).where(EventRow.task_id == waiting.id, EventRow.type == "queued")
    session.execute(queued.values(created_at=long_ago))
    session.commit()
    assert only(well)["code"] == "queue-slow"
    assert "A task has waited for 20 minutes" in only(well)["sentence"]


def test_lost_workers_and_those_of_another_release_are_told(well, session):
    announce(session, "gpu-2", version="0.0.1")
    assert only(well)["code"] == "workers-other-release"
    silent = update(workers.WorkerRow).where(workers.WorkerRow.id == "gpu-2")
    session.execute(silent.values(seen_at=func.now() - timedelta(minutes=5)))
    session.commit()
    assert only(well)["code"] == "workers-lost"
    workers.leave(session, "gpu-2")
    session.commit()
    assert findings(well) == []


def test_an_old_installation_without_a_backup_is_told(well, session):
    make_learner(session)
    session.commit()
    assert findings(well) == []
    session.execute(update(LearnerRow).values(created_at=func.now() - timedelta(days=20)))
    session.commit()
    assert (only(well)["code"], only(well)["sentence"]) == (
        "backup-old",
        "No backup was ever made.",
    )
    attention.note_backup(session, "monday.tar", n_blobs=3, size_bytes=9)
    session.commit()
    assert findings(well) == []


def test_a_disk_without_room_is_told(well, app):
    settings = app.state.context.settings
    object.__setattr__(settings, "min_free_bytes", 2**60)
    assert (only(well)["code"], only(well)["severity"]) == ("disk-full", "broken")


def test_answers_that_were_not_kept_are_told(well, app):
    app.state.context.writer._drop(2)
    assert only(well)["sentence"].startswith("2 answers were given but not kept")


def test_a_key_for_some_learners_reads_of_those_only(well, session, blobs):
    own = make_learner(session, "fish")
    make_learner(session, "birds")
    for name in ("fish", "birds"):
        task = make_task(session, blobs, name)
        ended = {"status": TaskStatus.FAILED, "finished_at": func.now()}
        session.execute(update(TaskRow).where(TaskRow.id == task.id).values(**ended))
    _, secret = keys.create_key(session, "phone", "reader", learners=[own.name])
    session.execute(update(LearnerRow).values(created_at=func.now() - timedelta(days=20)))
    session.commit()
    assert {f["code"] for f in findings(well)} == {"tasks-failed", "backup-old"}
    answer = well.get("/v1/health", headers={"Authorization": f"Bearer {secret}"})
    assert [(f["code"], f["learner"]) for f in answer.json()["findings"]] == [
        ("tasks-failed", "fish")
    ]
