from service.dashboard.trying import ROOM, synapse_bars


def synapse(task, current, threshold):
    return {"task": task, "current": current, "threshold": threshold, "state": "silent"}


def test_bars_share_one_scale():
    first, second = synapse_bars([synapse(1, 0.5, 0.2), synapse(2, 0.25, 0.4)])
    assert (first["width"], second["width"]) == ("83.33%", "41.67%")
    assert (first["mark"], second["mark"]) == ("33.33%", "66.67%")


def test_the_threshold_is_never_at_the_edge():
    [bar] = synapse_bars([synapse(1, 0.0, 0.15)])
    assert bar["mark"] == f"{100 / ROOM:.2f}%"
    assert bar["width"] == "0.00%"


def test_a_strategy_without_synapses_has_no_bars():
    assert synapse_bars([]) == []
    assert synapse_bars([synapse(1, 0.0, float("inf"))]) == []


def test_a_synapse_that_is_always_functional_has_a_bar():
    [bar] = synapse_bars([synapse(1, 0.3, 0.0)])
    assert (bar["width"], bar["mark"]) == ("100.00%", "0.00%")
