import pytest

from registry.accuracy import Cell, summarise
from registry.ancestry import Step
from registry.intervals import wilson
from service.dashboard.plots import MOST_NAMES, accuracy_lines, accuracy_matrix


def cell(version: int, task: int, n: int, n_correct: int) -> Cell:
    return Cell(version, task, n, n_correct, n_routed=0, n_routed_right=0, passes=1.0)


TWO_TASKS = summarise(
    [Step(1, [1]), Step(2, [1, 2])], [cell(1, 1, 10, 9), cell(2, 1, 10, 8), cell(2, 2, 30, 27)]
)


def test_there_is_one_line_a_task_and_one_for_all():
    first, second, overall, *band = accuracy_lines(TWO_TASKS)["data"]
    traces = [first, second, overall]
    assert {trace["meta"] for trace in band} == {"band"}
    assert [trace["name"] for trace in traces] == ["task 1", "task 2", "all so far"]
    assert traces[0]["y"] == [0.9, 0.8]
    assert traces[1]["y"] == [None, 0.9]
    assert traces[2]["meta"] == "all"


def test_accuracy_on_all_seen_counts_images_not_tasks():
    assert accuracy_lines(TWO_TASKS)["data"][2]["y"] == [0.9, 35 / 40]


def test_accuracy_on_all_seen_is_undefined_where_nothing_was_measured():
    history = summarise([Step(1, [1]), Step(2, [1, 2])], [cell(2, 2, 4, 3)])
    assert accuracy_lines(history)["data"][2]["y"] == [None, 0.75]


def test_each_point_has_its_interval_and_what_it_rests_on():
    first, _, _, lower, upper = accuracy_lines(TWO_TASKS)["data"]
    bars, (low, high) = first["error_y"], wilson(9, 10)
    assert (lower["y"][0], upper["y"][0]) == (low, high)
    assert bars["arrayminus"][0] == pytest.approx(0.9 - low)
    assert bars["array"][0] == pytest.approx(high - 0.9)
    heatmap = accuracy_matrix(TWO_TASKS)["data"][0]
    assert heatmap["text"] == [["<br>of 10", ""], ["?<br>of 10", "<br>of 30"]]
    assert heatmap["customdata"][0] == ["95% interval 60 to 98%, of 10 images held out", ""]


def test_a_cell_of_too_few_images_says_so():
    heatmap = accuracy_matrix(summarise([Step(1, [1])], [cell(1, 1, 5, 3)]))["data"][0]
    assert heatmap["text"] == [["?<br>of 5"]]
    assert "too few to tell" in heatmap["customdata"][0][0]


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
    assert all("error_y" in trace for trace in accuracy_lines(history)["data"][:1]) == has_room


def test_accuracy_has_the_same_scale_everywhere():
    history = summarise([Step(1, [1])], [cell(1, 1, 100, 31)])
    assert accuracy_lines(history)["layout"]["yaxis"]["range"] == [0, 1.01]
    heatmap = accuracy_matrix(history)["data"][0]
    assert (heatmap["zmin"], heatmap["zmax"]) == (0, 1)


def test_of_many_tasks_only_those_known_worst_have_a_line_each_with_its_own_dashes():
    tasks = range(1, 31)
    history = summarise(
        [Step(i, list(range(1, i + 1))) for i in tasks],
        [
            cell(version, task, 100, 100 - task)
            for version in tasks
            for task in range(1, version + 1)
        ],
    )
    traces = [trace for trace in accuracy_lines(history)["data"] if trace.get("meta") != "band"]
    names = [trace["name"] for trace in traces]
    assert names == ["task 30", "task 29", "task 28", "task 27", "task 26", "all so far"]
    assert len({trace["line"]["dash"] for trace in traces}) == 6
