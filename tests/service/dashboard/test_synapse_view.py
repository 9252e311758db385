import pytest

from registry import learners, versions
from service.dashboard import plots, synapse_view
from service.dashboard.synapse_view import Routing, routing_of
from tests.factories import make_learner
from tests.service.dashboard.published import publish_task

FIRST = {"routing": {"1": {"1": 9}}}
SECOND = {"routing": {"1": {"1": 8, "2": 1}, "2": {"1": 0, "2": 10}}}


@pytest.fixture
def birds(session, blobs):
    """Return a function that gives the routing of a version of a learner with two tasks of 10 held-out images each."""
    make_learner(session, "birds")

    def of(first=FIRST, second=SECOND):
        publish_task(session, blobs, "birds", ("heron",), [0.9], metrics=first)
        publish_task(session, blobs, "birds", ("stork",), [0.9, 1.0], metrics=second)
        learner_id = learners.get_learner(session, "birds").id
        return [routing_of(session, versions.get_version(session, learner_id, n)) for n in (1, 2)]

    return of


def test_rows_are_tasks_and_columns_synapses(birds):
    first, second = birds()
    assert first == Routing(1, [1], [1], [[0.9]])
    assert second == Routing(2, [1, 2], [1, 2], [[0.8, 0.1], [0.0, 1.0]])


def test_a_version_from_before_routes_were_counted_has_none(birds):
    assert birds(first={})[0] is None


def test_a_strategy_without_synapses_has_rows_only(birds):
    found = birds(first={"routing": {"1": {}}})[0]
    assert (found.tasks, found.synapses, found.shares) == ([1], [], [[]])


def test_counts_of_tasks_without_held_out_images_are_left_out(birds):
    found = birds(first={"routing": {"1": {"1": 9}, "7": {"1": 3}}})[0]
    assert found.tasks == [1]


def test_only_the_newest_tasks_are_drawn_when_there_are_too_many(birds, monkeypatch):
    monkeypatch.setattr(synapse_view, "MOST_TASKS", 1)
    found = birds()[1]
    assert (found.tasks, found.synapses, found.shares) == ([2], [2], [[1.0]])
    assert found.n_left_out == 1


def test_the_heatmap_has_the_first_task_on_top():
    figure = plots.routing_matrix(Routing(2, [1, 2], [1, 2], [[0.8, 0.1], [0.0, 1.0]]))
    [heatmap] = figure["data"]
    assert (heatmap["x"], heatmap["y"]) == (["1", "2"], ["1", "2"])
    assert heatmap["z"] == [[0.8, 0.1], [0.0, 1.0]]
    assert (heatmap["zmin"], heatmap["zmax"]) == (0, 1)
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (SECOND, 'data-plot="routing"'),
        ({}, "Not measured for version 2"),
        ({"routing": {"1": {}, "2": {}}}, "This strategy has no synapses"),
    ],
)
def test_both_pages_show_it_or_say_why_not(birds, browser, metrics, shown):
    birds(second=metrics)
    for path in ("/admin/learners/birds", "/admin/learners/birds/versions/2"):
        assert shown in browser.get(path).text
