import torch

from models.head import cosine_scores
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.paper import PaperForm
from models.strategies.artsy.strategy import Artsy


def learned(backbone, make_task) -> tuple[Artsy, PaperForm]:
    strategy = Artsy(backbone, ArtsyConfig(preset="paper", epochs=2, bottleneck=8))
    for index, labels in enumerate([("a", "b"), ("c", "d"), ("e", "f")], start=1):
        strategy.learn(make_task(index, labels))
    assert isinstance(strategy.form, PaperForm)
    return strategy, strategy.form


def test_every_image_takes_a_pass_a_task_and_the_frozen_one(backbone, make_task):
    strategy, _ = learned(backbone, make_task)

    assert (strategy.predict(make_task(1, ("a",)).images).passes == 4).all()


def test_the_first_synapse_is_always_functional_and_the_others_obey_their_threshold(
    backbone, make_task
):
    strategy, _ = learned(backbone, make_task)

    found = strategy.predict(make_task(2, ("c", "d")).images)

    assert found.thresholds.tolist() == [0.0, 0.5, 0.5]
    assert torch.equal(found.functional, found.currents >= found.thresholds)
    assert found.functional[:, 0].all()


def test_the_answer_is_the_cosine_of_gated_sums_with_matching_prototypes(backbone, make_task):
    strategy, form = learned(backbone, make_task)
    image = make_task(3, ("e",)).held_out_images[:1]

    found = strategy.predict(image)

    features = backbone.embed(image)[0]
    prototypes = form.prototypes[0].clone()
    for t, adapter in enumerate(form.adapters):
        if found.functional[0, t]:
            features = features + backbone.embed(image, adapter)[0]
            prototypes = prototypes + form.prototypes[t + 1]
    scores = cosine_scores(features[None], prototypes)
    assert torch.allclose(found.probabilities, form.calibration.probabilities(scores), atol=1e-4)


def test_a_current_reads_the_sum_of_the_branches_up_to_its_own(backbone, make_task):
    strategy, form = learned(backbone, make_task)
    images = make_task(2, ("c",)).held_out_images

    found = strategy.predict(images)

    total = backbone.embed(images) + backbone.embed(images, form.adapters[0])
    total = total + backbone.embed(images, form.adapters[1])
    assert torch.allclose(found.currents[:, 1], form.synapses[1].current(total), atol=1e-5)


def test_former_classes_get_a_prototype_in_the_new_branch(backbone, make_task):
    _, form = learned(backbone, make_task)

    assert form.prototypes.shape == (4, 6, backbone.feature_width)
    assert (form.prototypes.abs().sum(dim=-1) > 0).all()
