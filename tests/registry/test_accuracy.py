import pytest

from registry import accuracy
from registry.accuracy import Cell, summarise
from registry.ancestry import Step
from registry.versions import NewAccuracy
from tests.factories import make_learner, make_new_version, make_task, publish_task

LINE = [Step(1, [1]), Step(2, [1, 3]), Step(3, [1, 3, 4])]
"""Three versions; the task of index 2 was cancelled."""
CELLS = [
    Cell(1, 1, 50, 45, 0, 0, 1.0),
    Cell(2, 1, 50, 40, 20, 15, 1.5),
    Cell(2, 3, 100, 80, 60, 60, 2.0),
    Cell(3, 1, 50, 30, 10, 5, 1.0),
    Cell(3, 3, 100, 90, 30, 30, 1.0),
    Cell(3, 4, 10, 9, 10, 10, 2.6),
]


def test_by_hand():
    history = summarise(LINE, CELLS)
    assert history.tasks == [1, 3, 4]
    assert history.versions == [1, 2, 3]
    assert history.matrix == [[0.9, None, None], [0.8, 0.8, None], [0.6, 0.9, 0.9]]
    assert history.n == [[50, 0, 0], [50, 100, 0], [50, 100, 10]]
    # All images together: 45/50, 120/150, 129/160.
    assert history.last == pytest.approx(129 / 160)
    assert history.average == pytest.approx((0.9 + 0.8 + 129 / 160) / 3)
    # Task 1: best 0.9, now 0.6. Task 3: best before the end 0.8, now 0.9.
    assert history.forgetting == pytest.approx((0.3 - 0.1) / 2)
    assert history.backward_transfer == pytest.approx((-0.3 + 0.1) / 2)
    assert history.plasticity == [0.9, 0.8, 0.9]
    assert history.stability == [None, 0.8, pytest.approx(120 / 150)]
    assert history.routing == [None, 75 / 80, 45 / 50]
    assert history.passes == [1.0, pytest.approx((75 + 200) / 150), pytest.approx(176 / 160)]


def test_nothing_learned():
    history = summarise([], [])
    assert (history.tasks, history.matrix, history.passes) == ([], [], [])
    assert (history.last, history.average, history.forgetting) == (None, None, None)


def test_one_task_has_nothing_to_forget():
    history = summarise([Step(1, [1])], [Cell(1, 1, 4, 3, 0, 0, 1.0)])
    assert (history.last, history.average) == (0.75, 0.75)
    assert (history.forgetting, history.backward_transfer) == (None, None)


def test_cells_that_are_missing_are_not_defined():
    # Task 1's images were deleted before version 3; task 3 came without held-out images.
    cells = [
        Cell(1, 1, 10, 9, 0, 0, 1.0),
        Cell(2, 1, 10, 8, 0, 0, 1.0),
        Cell(3, 4, 5, 5, 0, 0, 1.0),
    ]
    history = summarise(LINE, [*cells, Cell(2, 3, 0, 0, 0, 0, 0.0)])
    assert history.matrix == [[0.9, None, None], [0.8, None, None], [None, None, 1.0]]
    assert (history.last, history.forgetting, history.backward_transfer) == (1.0, None, None)
    assert history.stability == [None, 0.8, None]


def test_images_left_out_in_turn_count_like_those_held_out():
    cells = [
        Cell(1, 1, 10, 6, 0, 0, 1.0, 30, 28),
        Cell(2, 1, 10, 5, 10, 5, 2.0, 30, 25),
        Cell(2, 3, 0, 0, 0, 0, 0.0, 20, 19),
    ]
    history = summarise(LINE[:2], cells)
    assert history.n == [[40, 0], [40, 20]]
    assert history.n_cross_validated == [[30, 0], [30, 20]]
    assert history.matrix == [[34 / 40, None], [30 / 40, 19 / 20]]
    assert history.last == pytest.approx(49 / 60)
    assert history.forgetting == pytest.approx(4 / 40)
    # They took no route.
    assert history.passes == [1.0, 2.0]
    assert history.routing == [None, 0.5]


def test_history_and_what_it_would_be(session, blobs):
    learner = make_learner(session)
    publish_task(session, make_task(session, blobs))
    second = make_task(session, blobs, classes=("crane",))
    measured = [NewAccuracy(1, 10, 5, 0, 0, 1.0), NewAccuracy(2, 10, 10, 0, 0, 1.0)]
    new_version = make_new_version(session, second, accuracies=measured)
    would_be = accuracy.forgetting_if_published(session, learner.id, new_version)
    assert would_be.value == pytest.approx(0.4)
    assert accuracy.history(session, learner.id).forgetting is None
    publish_task(session, second, accuracies=measured)
    history = accuracy.history(session, learner.id)
    assert history.forgetting == pytest.approx(would_be.value)
    assert history.matrix == [[0.9, None], [0.5, 1.0]]


def test_forgetting_of_a_first_version_is_not_defined(session, blobs):
    learner = make_learner(session)
    new_version = make_new_version(session, make_task(session, blobs))
    assert accuracy.forgetting_if_published(session, learner.id, new_version) is None


def test_history_of_an_unknown_learner_is_empty(session):
    assert accuracy.history(session, "lrn_x").tasks == []
