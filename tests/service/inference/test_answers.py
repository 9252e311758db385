"""What an answer says of its route: what would have been answered had no synapse fired."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from registry.classes import Shown
from service.inference.answers import hide, named, request_features, request_results
from service.inference.engine import Scores
from service.inference.snapshots import Snapshot
from service.intake.prediction_requests import Outcome
from service.problems import Problem

LABELS = ["heron", "egret", "owl"]
STRATEGY = SimpleNamespace(
    classes_=LABELS,
    class_tasks_=[1, 1, 2],
    synapse_tasks_=(1, 2),
    current_below=1.0,
    novelty_threshold=0.95,
)
SNAPSHOT = Snapshot("lrn_1", "birds", 1, STRATEGY, SimpleNamespace(name="tiny"))
SCORES = Scores(
    probabilities=np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]], dtype=np.float32),
    novelty=np.zeros(2, dtype=np.float32),
    currents=np.array([[0.4, 0.1], [0.1, 0.2]], dtype=np.float32),
    thresholds=np.array([0.25, 0.25], dtype=np.float32),
    functional=np.array([[True, False], [False, False]]),
    passes=np.array([2, 1]),
    unrouted=np.array([[0.4, 0.5, 0.1], [0.1, 0.2, 0.7]], dtype=np.float32),
    queue_s=0,
    infer_s=0,
    batch_images=2,
)


def routes(scores):
    outcomes = [Outcome(row=row) for row in range(2)]
    results = request_results(SNAPSHOT, [None, None], outcomes, [scores], top_k=1, trace="summary")
    return [result["route"] for result in results]


def test_what_would_have_been_answered_is_told_only_where_a_synapse_fired():
    fired, silent = routes(SCORES)
    assert fired["without"] == {"label": "egret", "score": 0.5, "task": 1}
    assert "without" not in silent


def test_where_it_is_not_known_nothing_is_told():
    assert all("without" not in route for route in routes(replace(SCORES, unrouted=None)))


def test_a_class_that_is_hidden_would_not_have_been_answered_either():
    fired, _ = routes(hide(SCORES, LABELS, {"egret"}))
    assert fired["without"] == {"label": "heron", "score": 0.8, "task": 1}


def test_it_is_called_as_its_class_is_called_now():
    entry = {"label": "heron", "top": [], "route": routes(SCORES)[0]}
    [shown] = named([entry], Shown({"egret": "Great egret"}))
    assert shown["route"]["without"] == {"label": "Great egret", "score": 0.5, "task": 1}
    assert entry["route"]["without"]["label"] == "egret"


def test_below_the_score_of_its_class_an_image_is_not_known():
    outcomes = [Outcome(row=row) for row in range(2)]
    heron, owl = request_results(
        SNAPSHOT,
        [None, None],
        outcomes,
        [SCORES],
        top_k=2,
        trace="none",
        min_scores={"heron": 0.65, "owl": 0.7, "egret": 1.0},
    )
    assert (heron["label"], heron["score"], heron["known"], heron["below"]) == (
        "heron",
        0.6,
        False,
        0.65,
    )
    # What reaches it is known, and of the others nothing is asked.
    assert (owl["known"], "below" in owl) == (True, False)
    assert [each["label"] for each in heron["top"]] == ["heron", "egret"]


def test_features_are_of_length_1_and_name_their_maker():
    rows = np.array([[3, 4], [0, 0]], dtype=np.float32)
    scores = replace(SCORES, features=rows, features_of="maker")
    outcomes = [Outcome(row=1), Outcome(problem=Problem("image-empty")), Outcome(row=0)]
    found = request_features(outcomes, [scores])
    assert set(found) == {0, 2}
    assert np.frombuffer(found[2].values, np.float16) == pytest.approx([0.6, 0.8], abs=1e-3)
    assert np.frombuffer(found[0].values, np.float16).tolist() == [0, 0]
    assert found[2].made_by == "maker"


def test_a_strategy_that_reads_no_features_has_none():
    assert request_features([Outcome(row=0)], [SCORES]) == {}
