import pytest

from models.evaluation import evaluate
from models.strategies.simplecil import SimpleCIL, SimpleCILConfig


def test_counts_right_answers_routes_and_confusions(backbone, make_task):
    strategy = SimpleCIL(backbone, SimpleCILConfig())
    task = make_task(4, ("a", "b"))
    strategy.learn(task)

    wrong_labels = tuple("b" if label == "a" else "a" for label in task.held_out_labels)
    right = evaluate(strategy, task.held_out_images, task.held_out_labels, task_index=4)
    wrong = evaluate(strategy, task.held_out_images, wrong_labels, task_index=4, batch_size=5)

    assert (right.n, right.n_routed, right.n_routed_right) == (12, 0, 0)
    assert right.n_correct + wrong.n_correct == 12
    assert right.n_correct > 6
    assert right.passes == pytest.approx(1.0)
    assert sum(sum(row.values()) for row in right.confusion.values()) == 12
