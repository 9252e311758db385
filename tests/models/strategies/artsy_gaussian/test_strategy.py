from dataclasses import replace

import torch

from models.evidence_synapse import NEVER
from models.merging import merge
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian


def learned(backbone, make_task, **config) -> ArtsyGaussian:
    strategy = ArtsyGaussian(backbone, ArtsyGaussianConfig(epochs=2, bottleneck=8, **config))
    strategy.learn(make_task(1, ("a", "b")))
    strategy.learn(make_task(2, ("c", "d")))
    return strategy


def test_merging_keeps_the_mass_its_classes_share():
    probabilities = torch.tensor([[0.5, 0.3, 0.2]])
    opinion = torch.tensor([[0.1, 0.9]]).log()

    merged = merge(probabilities, opinion, torch.tensor([0, 2]))

    # Geometric mean of (0.5, 0.2) and (0.1, 0.9): sqrt(0.05) : sqrt(0.18), sharing a mass of 0.7.
    shares = torch.tensor([0.05**0.5, 0.18**0.5])
    expected = 0.7 * shares / shares.sum()
    assert torch.allclose(merged, torch.tensor([[expected[0], 0.3, expected[1]]]), atol=1e-6)


def test_the_functional_adapter_is_the_mean_of_the_sub_networks(backbone, make_task):
    strategy = learned(backbone, make_task)

    first, second = (subnetwork.adapter.state_dict() for subnetwork in strategy.subnetworks)
    for key, value in strategy.functional.state_dict().items():
        assert torch.allclose(value, (first[key] + second[key]) / 2, atol=1e-6)


def test_a_sure_answer_takes_one_pass(backbone, make_task):
    strategy = learned(backbone, make_task, threshold=1.0)

    prediction = strategy.predict(make_task(1, ("a", "b")).images)

    assert not prediction.functional.any()
    assert (prediction.passes == 1).all()


def test_at_most_max_routed_sub_networks_turn_functional(backbone, make_task):
    strategy = learned(backbone, make_task, threshold=0.0, max_routed=1)

    prediction = strategy.predict(make_task(1, ("a", "b")).images)

    earned = (prediction.thresholds < NEVER).any()
    assert (prediction.functional.sum(dim=1) <= 1).all()
    assert (prediction.passes == 1 + prediction.functional.sum(dim=1)).all()
    assert prediction.functional.any() == earned


def test_what_would_be_answered_without_sub_networks_is_told_beside_the_answer(backbone, make_task):
    images = make_task(1, ("a", "b")).images
    always, never = (learned(backbone, make_task, threshold=0.0, max_routed=n) for n in (2, 0))
    always.subnetworks = [
        replace(subnetwork, synapse=replace(subnetwork.synapse, threshold=0.0))
        for subnetwork in always.subnetworks
    ]
    # Less sure of everything, so that a second opinion weighs.
    for strategy in (always, never):
        strategy.calibration.temperature.add(1e6, n=1000)

    asked, alone = always.predict(images), never.predict(images)

    assert asked.functional.all()
    assert not torch.allclose(asked.probabilities, alone.probabilities, atol=1e-3)
    assert torch.equal(asked.unrouted, alone.probabilities)


def test_a_synapse_below_its_threshold_takes_no_place_from_another(backbone, make_task):
    strategy = learned(backbone, make_task, max_routed=1)
    images = make_task(1, ("a", "b")).images
    currents = strategy.predict(images).currents
    ranks = currents.argsort(dim=1, descending=True)
    # Whichever is strongest for the first image can never fire, all others always do.
    strongest = int(ranks[0, 0])
    thresholds = [NEVER if t == strongest else 0.0 for t in range(len(strategy.subnetworks))]
    strategy.subnetworks = [
        replace(subnetwork, synapse=replace(subnetwork.synapse, threshold=threshold))
        for subnetwork, threshold in zip(strategy.subnetworks, thresholds, strict=True)
    ]

    prediction = strategy.predict(images)

    assert prediction.functional[0].nonzero().flatten().tolist() == [int(ranks[0, 1])]
    assert (prediction.functional.sum(dim=1) == 1).all()


def test_currents_stay_below_the_threshold_that_never_fires(backbone, make_task):
    prediction = learned(backbone, make_task).predict(make_task(3, ("x", "y")).images)

    assert (prediction.currents < NEVER).all()
    assert (prediction.currents >= 0).all()


def test_finished_sub_networks_never_change(backbone, make_task):
    strategy = learned(backbone, make_task)
    before = {k: v.clone() for k, v in strategy.state_dict().items() if k.startswith("tasks.")}

    strategy.learn(make_task(3, ("e", "f")))

    after = strategy.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


def test_a_strange_image_is_more_novel_than_a_known_one(backbone, make_task):
    strategy = learned(backbone, make_task)
    known = make_task(1, ("a", "b")).held_out_images
    stripes = torch.zeros_like(known)
    stripes[:, :, ::2] = 255

    assert strategy.predict(known).novelty.median() < 0.9
    assert strategy.predict(stripes).novelty.min() > 0.99
