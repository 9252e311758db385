"""Which synapses are worth turning when an answer is accounted for."""

import torch

from models.strategies.account import MOST_TURNED, worth_turning
from models.strategies.values import Prediction


def of_synapses(currents, thresholds, functional):
    return Prediction(
        currents=torch.tensor([currents]),
        thresholds=torch.tensor(thresholds),
        functional=torch.tensor([functional]),
        passes=torch.ones(1, dtype=torch.int64),
        probabilities=torch.ones(1, 1),
        novelty=torch.zeros(1),
    )


def test_those_that_fired_come_first_and_those_that_never_can_are_left_alone():
    prediction = of_synapses(
        [0.3, 0.1, 0.2, 0.4], [0.5, 0.05, 0.25, 1.0], [False, True, False, False]
    )
    assert worth_turning(prediction, 1.0) == [1, 0, 2]


def test_only_so_many_are_turned():
    n = MOST_TURNED + 3
    currents = [0.01 * (i + 1) for i in range(n)]
    prediction = of_synapses(currents, [0.5] * n, [True, *[False] * (n - 1)])
    turned = worth_turning(prediction, 1.0)
    assert len(turned) == MOST_TURNED
    assert turned[:2] == [0, n - 1]
