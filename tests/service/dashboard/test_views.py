import pytest

from registry import queue, tasks
from registry.errors import LearnerNotFoundError
from service.dashboard import views
from tests.factories import make_learner, make_task
from tests.service.dashboard.published import publish_task


@pytest.fixture
def birds(session, blobs):
    make_learner(session, "birds")
    publish_task(session, blobs, "birds", ("heron", "egret"), [0.9])
    publish_task(session, blobs, "birds", ("stork", "crane"), [0.8, 1.0])
    return "birds"


def test_a_card_shows_the_headline_numbers(session, birds):
    [card] = views.learner_cards(session, None)[0]
    assert (card.name, card.live_version, card.n_classes, card.n_tasks) == ("birds", 2, 4, 2)
    assert (card.last.value, card.last.n) == (pytest.approx(0.9), 20)
    assert card.forgetting.value == pytest.approx(0.1)
    assert card.forgetting.may_be_zero
    assert card.active == []
    assert len(card.spark.split()) == 2


def test_a_new_learner_has_an_empty_card(session):
    make_learner(session, "fresh")
    [card] = views.learner_cards(session, None)[0]
    assert (card.live_version, card.last, card.spark) == (0, None, "")


def test_learners_come_in_pages(session):
    for i in range(views.LEARNERS_SHOWN + 1):
        make_learner(session, f"learner-{i:03d}")
    first, cursor = views.learner_cards(session, None)
    rest, end = views.learner_cards(session, cursor)
    assert (len(first), len(rest), end) == (views.LEARNERS_SHOWN, 1, None)


def test_the_page_groups_classes_by_the_task_that_brought_them(session, birds):
    page = views.learner_page(session, birds)
    groups = [(index, {item.label for item in items}) for index, items in page.class_groups]
    assert groups == [(1, {"heron", "egret"}), (2, {"stork", "crane"})]
    assert [version.number for version in page.versions] == [2, 1]
    assert [task.status for task in page.tasks] == ["succeeded", "succeeded"]
    assert page.tasks[0].seconds is not None


def test_an_unknown_learner_has_no_page(session):
    with pytest.raises(LearnerNotFoundError):
        views.learner_page(session, "nobody")


def test_a_waiting_task_says_its_place(session, blobs):
    make_learner(session)
    make_task(session, blobs)
    make_task(session, blobs, classes=("stork",))
    active = views.active_tasks(session, "birds")
    assert [(task.index, task.phase, task.note) for task in active] == [
        (1, "waiting", "number 1 in the queue"),
        (2, "waiting", "number 2 in the queue"),
    ]
    assert all(task.can_cancel and task.is_active for task in active)


def test_a_running_task_says_epoch_and_time_left(session, blobs):
    make_learner(session)
    row = make_task(session, blobs)
    claimed = queue.claim_next(session, "tests", 30)
    progress = {
        "phase": "training",
        "fraction": 0.25,
        "epoch": 2,
        "epochs": 8,
        "eta_seconds": 12.4,
    }
    queue.update_progress(session, row.id, claimed.token, progress)
    [task] = views.active_tasks(session, None)
    assert (task.phase, task.fraction, task.note) == ("training", 0.25, "epoch 2 of 8, 12 s left")


def test_a_cancelled_task_can_be_retried(session, blobs):
    make_learner(session)
    tasks.request_cancel(session, make_task(session, blobs).id)
    [task], _ = views.task_list(session, None)
    assert task.can_retry
    assert not task.can_cancel
    assert views.active_tasks(session, None) == []


def test_held_out_samples_are_spread_over_the_classes(session, birds):
    samples = views.held_out_samples(session, birds)
    labels = [sample.label for sample in samples]
    assert labels == sorted(labels)
    assert {label: labels.count(label) for label in labels} == {
        "heron": 3,
        "egret": 3,
        "stork": 3,
        "crane": 3,
    }
    assert all(sample.is_tiny for sample in samples)


def test_samples_of_a_task_not_learned_yet_are_not_offered(session, blobs):
    make_learner(session)
    make_task(session, blobs)
    assert views.held_out_samples(session, "birds") == []
