"""What is shown of why an image was answered so."""

from service.dashboard.why_view import MOST_SYNAPSES, ROOM, synapse_bars, why_of
from service.schemas.accounts import AccountRead, SynapseAccount
from service.schemas.predictions import ScoredLabel


def account(synapses=(), **fields):
    answer = ScoredLabel(label="heron", score=0.7, task=1)
    known = {
        "learner": "birds",
        "version": 3,
        "live_version": 3,
        "prediction": None,
        "index": 0,
        "label": "heron",
        "score": 0.7,
        "known": True,
        "novelty": 0.2,
        "novelty_threshold": 0.99,
        "min_score": 0.0,
        "top": [answer],
        "passes": 1,
        "functional": answer,
        "heads": [],
        "stored": None,
    }
    return AccountRead(**known | {"synapses": list(synapses)} | fields)


def test_of_many_synapses_those_are_shown_that_fired_and_that_nearly_did():
    synapses = [
        SynapseAccount(
            task=i + 1,
            current=i / 1000,
            threshold=0.2,
            state="functional" if i == 0 else "silent",
            can_fire=True,
            otherwise=None,
            score_otherwise=None,
        )
        for i in range(MOST_SYNAPSES + 60)
    ]
    view = why_of(account(synapses))
    assert view.n_more == 60
    tasks = [one["task"] for one in view.synapses]
    assert tasks == [1, *range(62, MOST_SYNAPSES + 61)]


def synapse(task, current, threshold, *, can_fire=True):
    known = {"task": task, "current": current, "threshold": threshold, "state": "silent"}
    return {**known, "can_fire": can_fire}


def test_bars_share_one_scale():
    first, second = synapse_bars([synapse(1, 0.5, 0.2), synapse(2, 0.25, 0.4)])
    assert (first["width"], second["width"]) == ("62.50%", "31.25%")
    assert (first["mark"], second["mark"]) == ("25.00%", "50.00%")


def test_the_scale_is_the_same_for_every_image():
    images = [[synapse(1, current, 0.2), synapse(2, 0.1, 0.4)] for current in (0.0, 0.3, 5.0)]
    bars = [synapse_bars(image) for image in images]
    assert {bar["mark"] for bar, _ in bars} == {"25.00%"}
    assert {(other["width"], other["mark"]) for _, other in bars} == {("12.50%", "50.00%")}
    assert [bar["width"] for bar, _ in bars] == ["0.00%", "37.50%", "100.00%"]


def test_the_threshold_is_never_at_the_edge():
    [bar] = synapse_bars([synapse(1, 0.0, 0.15)])
    assert bar["mark"] == f"{100 / ROOM:.2f}%"
    assert bar["width"] == "0.00%"


def test_a_threshold_that_no_current_reaches_is_not_shown_and_sets_no_scale():
    never, other = synapse_bars([synapse(1, 0.1, 1.0, can_fire=False), synapse(2, 0.1, 0.25)])
    assert (never["mark"], never["width"]) == (None, other["width"])
    assert other["mark"] == f"{100 / ROOM:.2f}%"
    [alone] = synapse_bars([synapse(1, 0.1, 1.0, can_fire=False)])
    assert alone["width"] == "10.00%"


def test_a_strategy_without_synapses_has_no_bars():
    assert synapse_bars([]) == []
    assert synapse_bars([synapse(1, 0.0, float("inf"))]) == []


def test_a_synapse_that_is_always_functional_has_a_bar():
    [bar] = synapse_bars([synapse(1, 0.3, 0.0)])
    assert (bar["width"], bar["mark"]) == ("30.00%", "0.00%")
