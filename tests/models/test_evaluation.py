import pytest

from models.evaluation import evaluate
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.artsy_paper.strategy import ArtsyPaper
from models.strategies.simplecil import SimpleCIL, SimpleCILConfig


def test_counts_right_answers_routes_and_confusions(backbone, make_task):
    strategy = SimpleCIL(backbone, SimpleCILConfig())
    task = make_task(4, ("a", "b"))
    strategy.learn(task)

    wrong_labels = tuple("b" if label == "a" else "a" for label in task.held_out_labels)
    right = evaluate(strategy, task.held_out_images, task.held_out_labels, task_index=4)
    wrong = evaluate(strategy, task.held_out_images, wrong_labels, task_index=4, batch_size=5)

    assert (right.n, right.n_routed, right.n_routed_right, right.routing) == (12, 0, 0, {})
    assert right.n_correct + wrong.n_correct == 12
    assert right.n_correct > 6
    assert right.passes == pytest.approx(1.0)
    assert sum(sum(row.values()) for row in right.confusion.values()) == 12


def test_counts_which_synapses_were_functional(backbone, make_task):
    config = ArtsyPaperConfig(epochs=1, bottleneck=8)
    strategy = ArtsyPaper(backbone, config)
    strategy.learn(make_task(3, ("a", "b")))
    strategy.learn(make_task(5, ("c", "d")))
    task = make_task(3, ("a", "b"))

    counted = evaluate(strategy, task.held_out_images, task.held_out_labels, task_index=3)

    functional = strategy.predict(task.held_out_images).functional
    assert strategy.synapse_tasks_ == (3, 5)
    assert counted.routing == {3: int(functional[:, 0].sum()), 5: int(functional[:, 1].sum())}
    assert counted.n_routed_right == counted.routing[3]
    assert sum(counted.routing.values()) > 0
