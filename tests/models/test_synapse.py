import pytest
import torch

from models.synapse import Synapse, firing, thresholds_of


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.7])
def test_it_fires_where_the_current_reaches_the_threshold_and_not_below(threshold):
    reached = torch.tensor(threshold)
    below = torch.nextafter(reached, torch.tensor(-1.0))
    above = torch.nextafter(reached, torch.tensor(1.0))

    fired = Synapse(threshold).fires(torch.stack([below, reached, above]))

    assert fired.tolist() == [False, True, True]


def test_each_of_several_is_asked_about_its_own_current():
    synapses = [Synapse(0.5), Synapse(0.0), Synapse(1.0)]
    currents = torch.tensor([[0.4, 0.4, 0.4], [0.6, 0.6, 0.6]])

    assert firing(synapses, currents).tolist() == [[False, True, False], [True, True, False]]
    assert thresholds_of(synapses).tolist() == [0.5, 0.0, 1.0]


def test_no_image_is_no_firing():
    assert firing([Synapse(0.5)], torch.zeros(0, 1)).shape == (0, 1)
