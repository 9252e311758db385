import pytest
import torch

from models.evaluation import Asked, evaluate, evaluate_features, with_cross_validation
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.artsy_paper.strategy import ArtsyPaper
from models.strategies.simplecil import SimpleCIL, SimpleCILConfig
from tests.models.strategies.leaving_out import LeavingOut, LeavingOutConfig


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


class Asking(SimpleCIL):
    """Asks for every second image, and answers those by the image."""

    def score_features(self, features, images_of):
        raw = super().score_features(features, images_of)
        rows = torch.arange(len(features))[::2]
        seen = super().score_features(self.features_of(images_of(rows)), images_of)
        raw.logits[rows] = seen.logits
        self.asked = getattr(self, "asked", 0) + len(rows)
        return raw


@pytest.mark.parametrize("at_once", [4, 7, 1000])
def test_features_are_answered_as_the_images_they_came_from(backbone, make_task, at_once):
    strategy = Asking(backbone, SimpleCILConfig())
    tasks = [make_task(i, labels, n_held_out=n) for i, labels, n in TASKS]
    for task in tasks:
        strategy.learn(task)
    wrong = Asked(9, tuple("c" for _ in tasks[0].held_out_labels), *features_of(strategy, tasks[0]))

    found = evaluate_features(
        strategy,
        [
            *(
                Asked(task.index, task.held_out_labels, *features_of(strategy, task))
                for task in tasks
            ),
            wrong,
        ],
        at_once=at_once,
    )

    expected = [
        evaluate(strategy, task.held_out_images, task.held_out_labels, task_index=task.index)
        for task in tasks
    ]
    assert found[:-1] == expected
    assert found[-1].n_correct == found[-1].confusion["c"].get("c", 0) < expected[0].n_correct
    assert strategy.asked > 20


TASKS = ((1, ("a", "b"), 3), (2, ("c",), 5), (4, ("d", "e", "f"), 2))


def features_of(strategy, task):
    """Features of a task's held-out images, and what gives the images themselves."""
    images = task.held_out_images
    return strategy.features_of(images), images.__getitem__


def test_images_left_out_in_turn_join_those_held_out(backbone, make_task):
    strategy = LeavingOut(backbone, LeavingOutConfig())
    first, second = make_task(2, ("a", "b"), n=5), make_task(5, ("c", "a"), n=4)
    strategy.learn(first)
    strategy.learn(second)
    held_out = evaluate(strategy, first.held_out_images, first.held_out_labels, task_index=2)

    joined, alone = with_cross_validation(strategy, [held_out])

    found = strategy.cross_validation()
    right = found.targets == found.answers
    assert (joined.task_index, joined.n, joined.n_correct) == (2, 12, held_out.n_correct)
    assert (joined.n_cross_validated, alone.n_cross_validated) == (10, 8)
    assert joined.n_cross_validated_correct == int(right[:10].sum()) > 5
    assert alone.n_cross_validated_correct == int(right[10:].sum())
    assert (alone.task_index, alone.n, alone.passes, alone.routing) == (5, 0, 0.0, {})
    assert (joined.cross_validated, alone.cross_validated) == ({"a": 5, "b": 5}, {"c": 4, "a": 4})
    assert {label: sum(row.values()) for label, row in joined.confusion.items()} == {
        "a": 11,
        "b": 11,
    }
    n_right = sum(row.get(label, 0) for label, row in joined.confusion.items())
    assert n_right == joined.n_correct + joined.n_cross_validated_correct
    # What was measured on held-out images alone is as it was.
    assert sum(sum(row.values()) for row in held_out.confusion.values()) == 12


def test_rows_that_were_carried_along_count_only_where_nothing_is_held_out(backbone, make_task):
    strategy = LeavingOut(backbone, LeavingOutConfig())
    first, second = make_task(2, ("a", "b"), n=5), make_task(5, ("c", "a"), n=4)
    strategy.learn(first)
    strategy.learn(second)
    strategy.carried_tasks = (2, 5)
    held_out = evaluate(strategy, first.held_out_images, first.held_out_labels, task_index=2)

    measured, alone = with_cross_validation(strategy, [held_out])

    assert measured == held_out
    assert alone.n_cross_validated == 8


def test_a_strategy_that_leaves_nothing_out_changes_nothing(backbone, make_task):
    strategy = SimpleCIL(backbone, SimpleCILConfig())
    task = make_task(1, ("a", "b"))
    strategy.learn(task)
    cells = [evaluate(strategy, task.held_out_images, task.held_out_labels, task_index=1)]

    assert strategy.cross_validation() is None
    assert with_cross_validation(strategy, cells) == cells
