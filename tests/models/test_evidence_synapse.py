import torch

from models.evidence_synapse import NEVER, EvidenceSynapse, EvidenceSynapses

ANSWERS = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.125, 0.125, 0.25, 0.5]])
"""Probabilities of four classes for two images; either answer is wrong with a probability of a half."""


def synapse(threshold: float, *classes: int) -> EvidenceSynapse:
    return EvidenceSynapse(threshold, torch.tensor(classes))


def test_the_current_is_evidence_times_uncertainty():
    one = synapse(0.3, 0, 2)

    currents = EvidenceSynapses([one]).currents(ANSWERS)

    assert currents.tolist() == [[0.375], [0.1875]]
    assert one.fires(currents[:, 0]).tolist() == [True, False]


def test_a_class_of_several_tasks_is_evidence_for_each():
    synapses = [synapse(0.3, 0), synapse(NEVER, 1, 3), synapse(0.3, 0, 1, 2, 3)]

    assert EvidenceSynapses(synapses).currents(ANSWERS).tolist() == [
        [0.25, 0.125, 0.5],
        [0.0625, 0.3125, 0.5],
    ]


def test_routes_are_those_that_fire():
    synapses = [synapse(0.25, 0), synapse(0.25, 1, 2), synapse(0.25, 3)]

    currents, _, functional = EvidenceSynapses(synapses).route(ANSWERS, at_most=2)

    assert currents.tolist() == [[0.25, 0.25, 0.0], [0.0625, 0.1875, 0.25]]
    assert functional.tolist() == [[True, True, False], [False, False, True]]


def test_of_too_many_the_strongest_are_functional():
    synapses = [synapse(0.0, 0), synapse(0.0, 1), synapse(0.0, 2, 3)]

    assert EvidenceSynapses(synapses).route(ANSWERS, at_most=1)[2].tolist() == [
        [True, False, False],
        [False, False, True],
    ]
    assert not EvidenceSynapses(synapses).route(ANSWERS, at_most=0)[2].any()
    assert EvidenceSynapses(synapses).route(ANSWERS, at_most=9)[2].all()


def test_one_that_cannot_fire_takes_no_place_from_another():
    synapses = [synapse(NEVER, 0, 1, 2, 3), synapse(0.1, 0)]

    functional = EvidenceSynapses(synapses).route(ANSWERS, at_most=1)[2]

    assert functional.tolist() == [[False, True], [False, False]]


def test_the_surest_answer_of_a_one_class_learner_never_fires():
    currents, _, functional = EvidenceSynapses([synapse(0.25, 0)]).route(
        torch.ones(3, 1), at_most=2
    )

    assert currents.tolist() == [[0.0], [0.0], [0.0]]
    assert not functional.any()


def test_where_none_may_be_functional_no_current_reaches_a_threshold():
    synapses = [synapse(0.25, 0), synapse(NEVER, 1)]

    assert EvidenceSynapses(synapses).route(ANSWERS, at_most=1)[1].tolist() == [0.25, NEVER]
    assert EvidenceSynapses(synapses).route(ANSWERS, at_most=0)[1].tolist() == [NEVER, NEVER]
