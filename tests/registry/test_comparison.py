from registry.comparison import compare
from registry.versions import NewAccuracy
from tests.factories import make_learner, make_task, publish_task


def test_versions_are_compared_on_the_tasks_that_both_were_measured_on(session, blobs):
    learner = make_learner(session)
    cells = [NewAccuracy(1, 10, 9, 0, 0, 1.0, 20, 15), NewAccuracy(2, 0, 0, 0, 0, 0.0, 30, 30)]
    publish_task(session, make_task(session, blobs), accuracies=cells[:1])
    second = make_task(session, blobs, classes=("crane",))
    later = [NewAccuracy(1, 10, 8, 0, 0, 1.0, 20, 14), cells[1], NewAccuracy(3, 0, 0, 0, 0, 0.0)]
    publish_task(session, second, accuracies=later)
    third = make_task(session, blobs, classes=("ibis",))
    publish_task(session, third, accuracies=later[1:])

    found = compare(session, learner.id, 1, 2)
    assert (found.n_tasks, found.one.value, found.other.value) == (1, 24 / 30, 22 / 30)
    assert (found.one.n, found.one.n_cross_validated, found.one.measured_by) == (30, 20, "both")
    assert found.difference.may_be_zero
    assert compare(session, learner.id, 2, 3).other.value == 1.0
    assert compare(session, learner.id, 1, 3) is None
