import pytest

from registry.accuracy import Cell, summarise
from registry.ancestry import Step
from service.dashboard.plots import MOST_NAMES, accuracy_lines, accuracy_matrix, seen_accuracy


def cell(version: int, task: int, n: int, n_correct: int) -> Cell:
    return Cell(version, task, n, n_correct, n_routed=0, n_routed_right=0, passes=1.0)


TWO_TASKS = summarise(
    [Step(1, [1]), Step(2, [1, 2])], [cell(1, 1, 10, 9), cell(2, 1, 10, 8), cell(2, 2, 30, 27)]
)


def test_there_is_one_line_a_task_and_one_for_all():
    traces = accuracy_lines(TWO_TASKS)["data"]
    assert [trace["name"] for trace in traces] == ["task 1", "task 2", "all so far"]
    assert traces[0]["y"] == [0.9, 0.8]
    assert traces[1]["y"] == [None, 0.9]
    assert traces[2]["meta"] == "all"


def test_accuracy_on_all_seen_counts_images_not_tasks():
    assert seen_accuracy(TWO_TASKS) == [0.9, 35 / 40]


def test_accuracy_on_all_seen_is_undefined_without_held_out_images():
    history = summarise([Step(1, [1]), Step(2, [1, 2])], [cell(2, 2, 4, 3)])
    assert seen_accuracy(history) == [None, 0.75]


def test_the_matrix_has_the_first_version_on_top():
    figure = accuracy_matrix(TWO_TASKS)
    assert figure["data"][0]["z"] == [[0.9, None], [0.8, 0.9]]
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"


@pytest.mark.parametrize(("n", "has_room"), [(MOST_NAMES, True), (MOST_NAMES + 1, False)])
def test_names_and_numbers_are_left_out_where_they_would_not_fit(n, has_room):
    history = summarise(
        [Step(i, list(range(1, i + 1))) for i in range(1, n + 1)], [cell(1, 1, 10, 9)]
    )
    assert bool(accuracy_matrix(history)["data"][0]["texttemplate"]) == has_room
    assert accuracy_lines(history)["layout"]["showlegend"] == has_room


def test_the_axis_makes_room_for_low_values():
    history = summarise([Step(1, [1])], [cell(1, 1, 100, 31)])
    assert accuracy_lines(history)["layout"]["yaxis"]["range"][0] < 0.31
    assert accuracy_matrix(history)["data"][0]["zmin"] < 0.31
