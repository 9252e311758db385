import pytest

from registry import classes, learners, tasks, unlearning, versions
from registry.errors import ClassNameTakenError, LabelConfusableError, LabelKnownError
from tests.factories import make_learner, make_task, publish_task


@pytest.fixture
def birds(session, blobs):
    """A learner that knows herons and egrets, and is about to learn cranes."""
    learner = make_learner(session, "birds")
    publish_task(session, make_task(session, blobs))
    make_task(session, blobs, classes=("crane",))
    return learner


def test_a_class_is_called_by_its_label_until_it_is_renamed(session, birds):
    assert classes.shown(session, birds.id) == classes.PLAIN
    classes.rename(session, birds, "heron", "Grey heron")
    shown = classes.shown(session, birds.id)
    assert (shown.name("heron"), shown.name("egret")) == ("Grey heron", "egret")
    assert (shown.label("Grey heron"), shown.label("heron")) == ("heron", "heron")
    for name in ("Grey heron", "heron"):
        assert classes.resolve(session, birds.id, name) == "heron"
    assert classes.resolve(session, birds.id, "owl") == "owl"
    assert classes.all_shown(session) == {birds.id: shown}
    classes.rename(session, birds, "heron", None)
    assert classes.shown(session, birds.id).names == {}


@pytest.mark.parametrize("name", ["egret", "crane", "Great white"])
def test_a_name_that_another_class_has_is_refused(session, birds, name):
    classes.rename(session, birds, "egret", "Great white")
    with pytest.raises(ClassNameTakenError):
        classes.rename(session, birds, "heron", name)


@pytest.mark.parametrize("name", ["Egret", "\uff43rane", "great WHITE"])
def test_a_name_that_looks_like_another_class_is_refused(session, birds, name):
    classes.rename(session, birds, "egret", "Great white")
    with pytest.raises(LabelConfusableError):
        classes.rename(session, birds, "heron", name)


@pytest.mark.parametrize("name", ["Heron", "heron", "HERON"])
def test_a_class_may_be_written_otherwise(session, birds, name):
    classes.rename(session, birds, "heron", name)
    assert classes.shown(session, birds.id).name("heron") == name
    classes.rename(session, birds, "heron", name.title())
    assert classes.resolve(session, birds.id, name.title()) == "heron"


def test_names_of_what_was_rolled_back_stay_taken(session, blobs, birds):
    publish_task(session, tasks.list_tasks(session).items[0])
    make_name = "great crane"
    classes.rename(session, birds, "crane", make_name)
    learners.set_alias(session, birds.id, 1)
    versions.move_head(session, birds.id, 1)
    for name in ("crane", make_name):
        with pytest.raises(ClassNameTakenError):
            classes.rename(session, birds, "heron", name)


def test_two_learners_may_use_one_name(session, blobs, birds):
    fish = make_learner(session, "fish")
    classes.rename(session, birds, "heron", "grey")
    classes.rename(session, fish, "eel", "grey")
    assert classes.resolve(session, birds.id, "grey") == "heron"
    assert classes.resolve(session, fish.id, "grey") == "eel"


@pytest.mark.parametrize("mode", ["new_classes", "extend"])
def test_a_new_class_may_not_take_a_name_in_use(session, blobs, birds, mode):
    classes.rename(session, birds, "heron", "Grey heron")
    # As of an upload whose labels were looked up just before the class was renamed.
    with pytest.raises(LabelKnownError):
        make_task(session, blobs, classes=("Grey heron",), mode=mode)
    with pytest.raises(LabelConfusableError):
        make_task(session, blobs, classes=("grey heron",), mode=mode)


def test_more_of_a_renamed_class_may_come(session, blobs, birds):
    classes.rename(session, birds, "heron", "HERON")
    assert make_task(session, blobs, classes=("heron", "egret"), mode="extend").classes


def test_a_cancelled_task_is_not_retried_over_a_name_taken_since(session, blobs, birds):
    task = make_task(session, blobs, classes=("stork",))
    tasks.request_cancel(session, task.id)
    classes.rename(session, birds, "heron", "stork")
    with pytest.raises(LabelKnownError):
        tasks.retry_task(session, task.id)


def test_hidden_and_named_classes_are_told_by_the_table(session, birds):
    classes.hide(session, birds, "egret", is_hidden=True)
    classes.rename(session, birds, "egret", "Great white")
    table = {info.label: info for info in learners.class_table(session, birds)}
    assert (table["egret"].name, table["egret"].is_hidden) == ("Great white", True)
    assert (table["heron"].name, table["heron"].is_hidden) == ("heron", False)
    classes.hide(session, birds, "egret", is_hidden=False)
    assert classes.shown(session, birds.id).hidden == frozenset()


def test_an_unlearned_class_leaves_neither_its_name_nor_its_curtain(session, blobs, birds):
    classes.rename(session, birds, "egret", "Great white")
    classes.hide(session, birds, "egret", is_hidden=True)
    classes.rename(session, birds, "heron", "Grey heron")
    tasks.request_cancel(session, tasks.list_tasks(session).items[0].id)
    task = tasks.add_unlearning(
        session, "birds", name=None, tasks=[], classes=["egret"], options={}, needs_images=False
    )
    assert task.mode == unlearning.MODE
    publish_task(session, task, classes=["heron"], tasks=[1])
    assert classes.shown(session, birds.id) == classes.Shown({"heron": "Grey heron"})


def test_from_which_score_a_class_is_known_is_told_and_taken_back(session, birds):
    classes.answer_from(session, birds, "heron", 0.8)
    assert classes.shown(session, birds.id).min_scores == {"heron": 0.8}
    assert classes.all_shown(session)[birds.id].min_scores == {"heron": 0.8}
    told = {info.label: info.min_score for info in learners.class_table(session, birds)}
    assert told["heron"] == 0.8
    classes.answer_from(session, birds, "heron", None)
    assert classes.shown(session, birds.id).min_scores == {}
