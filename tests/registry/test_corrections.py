import pytest

from registry import (
    ancestry,
    class_accuracy,
    corrections,
    learners,
    queue,
    samples,
    tasks,
    unlearning,
    versions,
)
from registry.errors import (
    ClassWouldBeEmptyError,
    ImagesNotCorrectableError,
    NothingLearnedError,
    NothingToCorrectError,
    StaleHeadError,
    UnknownContentError,
)
from registry.tables import SampleRow, TaskRow
from tests.factories import make_learner, make_task, publish_task


@pytest.fixture
def learner(session, blobs):
    """A learner of two versions: heron and egret, then crane."""
    row = make_learner(session)
    for classes in (("heron", "egret"), ("crane",)):
        task = make_task(session, blobs, classes=classes, n_train=3, n_eval=1)
        publish_task(session, task)
    return row


def ids(session, label, *, split="train"):
    """Return the images that were sent with a label."""
    query = session.query(SampleRow).filter(SampleRow.filename.like(f"{label}-%"))
    return [row.id for row in query.filter_by(split=split).order_by(SampleRow.position)]


def add(session, changes=None, **options):
    return tasks.add_correction(session, "birds", name=None, changes=changes, **options)


def publish(session, task, classes=None):
    """Publish what a worker would."""
    learner = learners.get_learner_by_id(session, task.learner_id)
    head = versions.get_version(session, learner.id, learner.head_version)
    metrics = {"correction": {"classes": classes or {}}}
    return publish_task(session, task, tasks=head.tasks, classes=head.classes, metrics=metrics)


def correct(session, changes, classes=None):
    task = add(session, changes)
    publish(session, task, classes)
    return task


def shows(session, sample_id):
    row = session.get(SampleRow, sample_id, populate_existing=True)
    return row.label, row.taught_label, row.quarantine


def test_it_waits_its_turn_like_any_task(session, blobs, learner):
    waiting = make_task(session, blobs, classes=("stork",))
    [heron, *_] = ids(session, "heron")
    task = add(session, [(heron, "egret")])
    assert (task.index, task.mode, task.status) == (4, "correct", "queued")
    assert (task.classes, task.n_train, task.n_eval) == (["heron", "egret"], 0, 0)
    assert queue.claim(session, task.id, "w", 30) is None
    assert shows(session, heron) == ("heron", None, None)
    publish_task(session, waiting)
    assert queue.claim(session, task.id, "w", 30) is not None


def test_an_image_shows_what_it_was_moved_to_and_what_was_removed_is_used_by_nobody(
    session, learner
):
    first, second, _ = ids(session, "heron")
    [held_out] = ids(session, "heron", split="eval")

    correct(session, [(first, "crane"), (second, None), (held_out, "egret")])

    assert shows(session, first) == ("crane", "heron", None)
    assert shows(session, second) == ("heron", None, "removed")
    assert shows(session, held_out) == ("egret", "heron", None)
    measured = samples.eval_samples_by_task(session, learner.id, [1])
    assert sorted(row.label for row in measured[1]) == ["egret", "egret"]
    trained = samples.train_samples_by_task(session, learner.id, [1])
    assert [row.label for row in trained[1]] == ["crane", "heron", "egret", "egret", "egret"]
    counts = {info.label: info.n_train for info in learners.class_table(session, learner)}
    assert counts == {"heron": 1, "egret": 3, "crane": 4}


def test_the_way_back_leads_back_but_for_what_was_changed_again(session, learner):
    first, second, third = ids(session, "heron")
    one = correct(session, [(first, "crane"), (second, None), (third, "egret")][:2])
    other = correct(session, [(first, "egret")])

    undo = add(session, undo=one.id)
    assert undo.options == {"undoes": one.id, "changes": [[second, "heron"]]}
    publish(session, undo)
    assert shows(session, second) == ("heron", None, None)
    assert shows(session, first) == ("egret", "heron", None)
    with pytest.raises(NothingToCorrectError):
        add(session, undo=one.id)
    publish(session, add(session, undo=other.id))
    assert shows(session, first) == ("crane", "heron", None)
    assert shows(session, third) == ("heron", None, None)


def test_what_is_undone_can_be_done_again_by_undoing_that(session, learner):
    [first, *_] = ids(session, "heron")
    one = correct(session, [(first, None)])
    undo = add(session, undo=one.id)
    publish(session, undo)
    publish(session, add(session, undo=undo.id))
    assert shows(session, first) == ("heron", None, "removed")


def test_images_follow_the_head_back_and_forth(session, learner):
    first, second, _ = ids(session, "heron")
    correct(session, [(first, "crane"), (second, None)])
    correct(session, [(first, None), (second, "egret")])
    after = [shows(session, each) for each in (first, second)]
    assert after == [("crane", "heron", "removed"), ("egret", "heron", None)]

    for number, expected in (
        (2, [("heron", None, None), ("heron", None, None)]),
        (3, [("crane", "heron", None), ("heron", None, "removed")]),
        (4, after),
        (1, [("heron", None, None), ("heron", None, None)]),
    ):
        versions.move_head(session, learner.id, number)
        assert [shows(session, each) for each in (first, second)] == expected
    rows = session.query(TaskRow).filter_by(mode="correct").order_by(TaskRow.index)
    assert [row.status for row in rows] == ["superseded", "superseded"]
    with pytest.raises(NothingToCorrectError):
        add(session, undo=rows.first().id)


def test_refuses_what_is_none_of_the_heads_images_by_its_place(session, blobs, learner):
    make_task(session, blobs, classes=("stork",), n_train=2, n_eval=0)
    [heron, *_], [stork, *_] = ids(session, "heron"), ids(session, "stork")
    with pytest.raises(ImagesNotCorrectableError) as refused:
        add(session, [(heron, "crane"), (stork, "crane"), ("smp_none", None)])
    assert refused.value.images == [1, 2]
    with pytest.raises(UnknownContentError) as unknown:
        add(session, [(heron, "dodo")])
    assert unknown.value.classes == [0]
    blank = session.get(SampleRow, heron)
    blank.quarantine = "blank"
    session.flush()
    with pytest.raises(ImagesNotCorrectableError):
        add(session, [(heron, "crane")])


def test_refuses_what_changes_nothing_and_a_head_that_moved(session, learner):
    [heron, *_] = ids(session, "heron")
    with pytest.raises(NothingToCorrectError):
        add(session, [(heron, "heron")])
    with pytest.raises(StaleHeadError):
        add(session, [(heron, "crane")], expected_head_version=1)
    make_learner(session, "empty")
    with pytest.raises(NothingLearnedError):
        tasks.add_correction(session, "empty", name=None, changes=[(heron, "crane")])


def test_refuses_to_leave_a_class_or_task_bare(session, learner):
    with pytest.raises(ClassWouldBeEmptyError, match="heron"):
        add(session, [(each, "egret") for each in ids(session, "heron")])
    [egret, *_] = ids(session, "egret")
    correct(session, [(egret, "crane")])
    with pytest.raises(ClassWouldBeEmptyError, match="A task"):
        add(session, [(each, None) for each in ids(session, "crane")])


def test_one_that_was_cancelled_can_be_retried_if_it_still_can_be_done(session, learner):
    [heron, *_] = ids(session, "heron")
    task = add(session, [(heron, "crane")])
    tasks.request_cancel(session, task.id)
    assert tasks.retry_task(session, task.id).status == "queued"
    tasks.request_cancel(session, task.id)
    correct(session, [(heron, "crane")])
    with pytest.raises(NothingToCorrectError):
        tasks.retry_task(session, task.id)


def test_unlearning_takes_what_was_moved_with_its_new_class(session, learner):
    """And every version that held it, under whatever class."""
    first, second, _ = ids(session, "heron")
    correct(session, [(first, "crane"), (second, None)], {"1": ["heron", "egret", "crane"]})
    would_go = preview(session, learner, ["crane"])
    assert (would_go.versions, would_go.n_images) == ([1, 2, 3], 5)
    task = tasks.add_unlearning(
        session, "birds", name=None, tasks=[], classes=["crane"], options={}, needs_images=False
    )
    publish_task(session, task, classes=["heron", "egret"], tasks=[1])

    left = {row.id for row in session.query(SampleRow)}
    assert first not in left
    assert second in left
    assert all(versions.get_version(session, learner.id, n).erased_at for n in (1, 2, 3))


def preview(session, learner, classes):
    return unlearning.preview_unlearning(session, learner, tasks=[], classes=classes)


def test_what_was_removed_goes_with_its_class(session, learner):
    first, *_ = ids(session, "crane")
    correct(session, [(first, None)])
    assert preview(session, learner, ["crane"]).n_images == 4


def test_tasks_contribute_what_their_images_show(session, learner):
    first, *_ = ids(session, "heron")
    shown = {"1": ["heron", "egret", "crane"]}
    task = correct(session, [(first, "crane")], shown)
    assert ancestry.brought(session, learner.id, 3) == {1: shown["1"], 2: ["crane"]}
    # Without task 2 crane stays, with what it shows in task 1.
    of_task = unlearning.preview_unlearning(session, learner, tasks=[2], classes=[])
    assert of_task.classes == []
    publish(session, add(session, undo=task.id), {"1": ["heron", "egret"]})
    assert ancestry.brought(session, learner.id, 4) == {1: ["heron", "egret"], 2: ["crane"]}
    assert ancestry.brought(session, learner.id, 3)[1] == shown["1"]
    assert ancestry.introduced(session, learner.id, 4) == {"heron": 1, "egret": 1, "crane": 2}
    infos = learners.class_table(session, learner)
    assert set(class_accuracy.of_classes(session, learner, infos)) == {"heron", "egret", "crane"}


def test_images_that_are_gone_stand_in_nobodys_way(session, learner):
    first, *_ = ids(session, "crane")
    correct(session, [(first, None)])
    [task] = session.query(TaskRow).filter_by(index=2)
    samples.drop_samples(session, task.id)
    versions.move_head(session, learner.id, 2)
    assert corrections.samples_of(session, learner.id, [first]) == {}
