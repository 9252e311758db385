"""What a learner has already of a batch, and how it is found."""

import pytest
from sqlalchemy import event, select, text, update

from registry import tasks
from registry.growth import ClassSize, ImageKey, find_earlier_images
from registry.samples import task_samples
from registry.tables import SampleRow, TaskRow
from tests.factories import make_learner, make_task, publish_task


@pytest.fixture
def learner(session):
    return make_learner(session)


def keys(session, task):
    rows = [*task_samples(session, task.id, "train"), *task_samples(session, task.id, "eval")]
    return [ImageKey(row.label, row.blob_sha256) for row in rows]


@pytest.mark.parametrize(
    ("status", "is_known", "keeps_its_side"),
    [
        ("queued", True, True),
        ("running", True, True),
        ("cancelling", True, True),
        ("held", True, True),
        ("succeeded", True, True),
        ("superseded", False, True),
        ("failed", False, False),
        ("cancelled", False, False),
    ],
)
def test_what_is_known_follows_from_the_status(
    session, blobs, learner, status, is_known, keeps_its_side
):
    task = make_task(session, blobs, n_train=2, n_eval=1)
    session.execute(update(TaskRow).values(status=status))
    images = keys(session, task)
    earlier = find_earlier_images(session, learner, images)
    assert len(earlier.known) == (6 if is_known else 0)
    assert len(earlier.labels) == len(earlier.known)
    assert len(earlier.sides) == (6 if keeps_its_side else 0)
    size = {"heron": ClassSize(3, 1), "egret": ClassSize(3, 1)} if is_known else {}
    assert earlier.sizes == size


def test_a_side_is_the_first_one(session, blobs, learner):
    """Rows from before sides were kept may contradict each other."""
    first = make_task(session, blobs, classes=("heron",), n_train=2, n_eval=0)
    publish_task(session, first)
    make_task(session, blobs, classes=("heron",), n_train=0, n_eval=2, mode="extend")
    earlier = find_earlier_images(session, learner, keys(session, first))
    assert set(earlier.sides.values()) == {"train"}
    assert earlier.sizes["heron"].n_images == 2


def test_a_class_is_known_by_head_and_waiting_tasks(session, blobs, learner):
    publish_task(session, make_task(session, blobs, classes=("heron",), n_train=2, n_eval=0))
    make_task(session, blobs, classes=("egret",), n_train=2, n_eval=0)
    gone = make_task(session, blobs, classes=("owl",), n_train=2, n_eval=0)
    tasks.request_cancel(session, gone.id)
    assert find_earlier_images(session, learner, keys(session, gone)).classes == {"heron", "egret"}


MANY = """
INSERT INTO samples (id, task_id, position, label, split, blob_sha256, source_sha256, width, height)
SELECT :task || '-' || i, :task, i, 'class ' || i % 20, CASE WHEN i < 200 THEN 'eval' ELSE 'train' END,
encode(sha256((:task || '-' || i)::bytea), 'hex'), encode(sha256((:task || '+' || i)::bytea), 'hex'), 8, 8
FROM generate_series(0, 1999) AS i
"""
"""Rows of 2,000 images of twenty classes, every tenth held out."""


def fill(session, learner, n_tasks):
    for index in range(1, n_tasks + 1):
        task = TaskRow(
            id=f"tsk_{learner.name}_{index}",
            learner_id=learner.id,
            index=index,
            status="succeeded",
            config={},
            classes=[],
            n_train=1800,
            n_eval=200,
        )
        session.add(task)
        session.flush()
        session.execute(text(MANY), {"task": task.id})


def test_a_hundred_thousand_images_are_looked_through_by_index(session, blobs, learner):
    fill(session, learner, 50)
    fill(session, make_learner(session, "others"), 20)
    session.execute(text("ANALYZE samples, tasks"))
    rows = session.scalars(
        select(SampleRow).where(SampleRow.task_id.like("tsk_birds_%")).limit(250)
    )
    images = [ImageKey(row.label, row.blob_sha256, row.source_sha256) for row in rows]
    images += [ImageKey("class 1", f"{i:064x}", f"{i + 9999:064x}") for i in range(250)]
    asked = []

    def note(connection, cursor, statement, parameters, context, executemany):
        asked.append((statement, parameters))

    event.listen(session.get_bind(), "before_cursor_execute", note)
    earlier = find_earlier_images(session, learner, images)
    event.remove(session.get_bind(), "before_cursor_execute", note)
    assert len(earlier.known) == 250
    assert set(earlier.sizes.values()) == {ClassSize(5000, 500)}
    [(statement, parameters)] = [each for each in asked if "source_sha256 = ANY" in each[0]]
    plan = session.connection().exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()
    assert "ix_samples_blob_sha256" in "".join(plan)
    assert "ix_samples_source_sha256" in "".join(plan)
    assert "Seq Scan on samples" not in "".join(plan)
