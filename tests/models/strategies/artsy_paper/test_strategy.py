import pytest
import torch

from models import artifact
from models.errors import CheckpointError, ConfigError
from models.head import cosine_scores
from models.statistics import ClassStatistics
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.artsy_paper.strategy import ArtsyPaper

QUICK = {"epochs": 2, "bottleneck": 8}


def learned(backbone, make_task, *, n_tasks=3, **options) -> ArtsyPaper:
    strategy = ArtsyPaper(backbone, ArtsyPaperConfig(**QUICK, **options))
    tasks = [("a", "b"), ("c", "d"), ("e", "f")][:n_tasks]
    for index, labels in enumerate(tasks, start=1):
        strategy.learn(make_task(index, labels))
    return strategy


def test_every_image_takes_a_pass_a_task_and_the_frozen_one(backbone, make_task):
    strategy = learned(backbone, make_task)

    assert (strategy.predict(make_task(1, ("a",)).images).passes == 4).all()


def test_the_first_synapse_is_always_functional_and_the_others_obey_their_threshold(
    backbone, make_task
):
    strategy = learned(backbone, make_task)

    prediction = strategy.predict(make_task(2, ("c", "d")).images)

    assert prediction.thresholds.tolist() == [0.0, 0.5, 0.5]
    assert torch.equal(prediction.functional, prediction.currents >= prediction.thresholds)
    assert prediction.functional[:, 0].all()


def test_the_answer_is_the_cosine_of_gated_sums_with_matching_prototypes(backbone, make_task):
    strategy = learned(backbone, make_task)
    image = make_task(3, ("e",)).held_out_images[:1]

    prediction = strategy.predict(image)

    features = backbone.embed(image)[0]
    prototypes = strategy.prototypes[0].clone()
    for t, adapter in enumerate(strategy.adapters):
        if prediction.functional[0, t]:
            features = features + backbone.embed(image, adapter)[0]
            prototypes = prototypes + strategy.prototypes[t + 1]
    scores = cosine_scores(features[None], prototypes)
    assert torch.allclose(
        prediction.probabilities, strategy.calibration.probabilities(scores), atol=1e-4
    )


def test_a_current_reads_the_sum_of_the_branches_up_to_its_own(backbone, make_task):
    strategy = learned(backbone, make_task)
    images = make_task(2, ("c",)).held_out_images

    prediction = strategy.predict(images)

    total = backbone.embed(images) + backbone.embed(images, strategy.adapters[0])
    total = total + backbone.embed(images, strategy.adapters[1])
    assert torch.allclose(
        prediction.currents[:, 1], strategy.gates[1].network.current(total), atol=1e-5
    )


def test_former_classes_get_a_prototype_in_the_new_branch(backbone, make_task):
    strategy = learned(backbone, make_task)

    assert strategy.prototypes.shape == (4, 6, backbone.feature_width)
    assert (strategy.prototypes.abs().sum(dim=-1) > 0).all()


def test_prototypes_score_by_block_and_all_closed_is_the_cosine_on_the_frozen_backbone(
    backbone, make_task
):
    strategy = learned(backbone, make_task, combine="concat", gates="reconsolidate", threshold=1.0)
    images = make_task(3, ("e",)).held_out_images

    prediction = strategy.predict(images)

    assert not prediction.functional.any()
    closed = cosine_scores(backbone.embed(images), strategy.prototypes[0])
    assert torch.allclose(
        prediction.probabilities, strategy.calibration.probabilities(closed), atol=1e-6
    )


def test_a_functional_branch_adds_its_own_cosine(backbone, make_task):
    strategy = learned(backbone, make_task, combine="concat")
    image = make_task(3, ("e",)).held_out_images[:1]

    prediction = strategy.predict(image)

    scores = cosine_scores(backbone.embed(image), strategy.prototypes[0])
    for t, adapter in enumerate(strategy.adapters):
        if prediction.functional[0, t]:
            scores = scores + cosine_scores(
                backbone.embed(image, adapter), strategy.prototypes[t + 1]
            )
    assert prediction.functional[0, 0]
    assert torch.allclose(
        prediction.probabilities, strategy.calibration.probabilities(scores), atol=1e-4
    )
    distance = (1 - scores.amax(dim=1) / (1 + prediction.functional.sum(dim=1))).clamp(min=0)
    assert torch.allclose(
        prediction.novelty, strategy.calibration.familiarity.novelty(distance), atol=1e-2
    )


def test_silent_sub_networks_take_no_pass_where_synapses_read_the_frozen_backbone(
    backbone, make_task
):
    strategy = learned(backbone, make_task, gate_input="h0")
    images = torch.cat([make_task(1, (label,)).held_out_images for label in "abcdef"])
    batches = []
    hook = backbone.vit.patch_embed.register_forward_pre_hook(
        lambda _, inputs: batches.append(len(inputs[0]))
    )

    prediction = strategy.predict(images)

    hook.remove()
    assert torch.equal(prediction.passes, 1 + prediction.functional.sum(dim=1))
    assert sum(batches) == int(prediction.passes.sum()) < 4 * len(images)
    current = strategy.gates[2].network.current(backbone.embed(images))
    assert torch.equal(prediction.currents[:, 2], current)


def test_both_gate_inputs_answer_with_the_same_gated_sum(backbone, make_task):
    """A threshold of 0 opens every gate, whatever it reads."""
    images = make_task(2, ("c", "f")).held_out_images
    by_sum = learned(backbone, make_task, threshold=0.0)
    by_frozen = learned(backbone, make_task, threshold=0.0, gate_input="h0")

    expected, prediction = by_sum.predict(images), by_frozen.predict(images)

    assert prediction.functional.all()
    assert torch.allclose(prediction.probabilities, expected.probabilities, atol=1e-5)


@pytest.mark.parametrize("gates", ["frozen", "reconsolidate"])
@pytest.mark.parametrize("gate_input", ["sum", "h0"])
@pytest.mark.parametrize("recall", [0.75, 1.0])
def test_the_newest_synapse_fires_on_the_wanted_share_of_its_held_out_images(
    backbone, make_task, gates, gate_input, recall
):
    strategy = learned(backbone, make_task, gates=gates, gate_input=gate_input, gate_recall=recall)
    images = make_task(3, ("e", "f")).held_out_images

    fired = strategy.predict(images).functional[:, 2].float().mean()

    assert recall <= fired <= recall + 1 / len(images)


def test_frozen_synapses_stay_and_reconsolidated_ones_learn_of_later_tasks(backbone, make_task):
    later = make_task(3, ("e", "f"), n=60)
    states = {}
    for gates in ("frozen", "reconsolidate"):
        strategy = learned(
            backbone, make_task, n_tasks=2, gates=gates, gate_input="h0", synapse_epochs=60
        )
        before = [gate.network for gate in strategy.gates]
        currents = strategy.predict(later.images).currents[:, 1]
        strategy.learn(later)
        states[gates] = [
            all(map(torch.equal, a.state_dict().values(), b.network.state_dict().values()))
            for a, b in zip(before, strategy.gates, strict=False)
        ]
        moved = strategy.predict(later.images).currents[:, 1].mean() - currents.mean()
        assert moved < 0 if gates == "reconsolidate" else moved == 0

    assert states == {"frozen": [True, True], "reconsolidate": [False, False]}


def test_a_refitted_first_synapse_is_functional_until_there_is_another_class(backbone, make_task):
    strategy = learned(backbone, make_task, n_tasks=1, gates="reconsolidate")
    images = make_task(1, ("a",)).images

    first = strategy.predict(images)
    strategy.learn(make_task(2, ("c", "d")))

    assert first.thresholds.tolist() == [0.0]
    assert first.functional.all()
    assert strategy.predict(images).thresholds.tolist() == [0.5, 0.5]


def test_replay_of_the_frozen_backbone_has_the_true_means_and_covariance(backbone, make_task):
    strategy = learned(backbone, make_task, gate_input="h0")
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d")), make_task(3, ("e", "f"))]
    features = backbone.embed(torch.cat([task.images for task in tasks]))
    truth = ClassStatistics.of(features, torch.arange(6).repeat_interleave(12), 6)

    cloud = strategy._shared_gaussians(1, [0, 5], strategy._frozen_statistics())

    assert torch.allclose(cloud.centres, truth.means[[0, 5]].float(), atol=1e-6)
    assert torch.allclose(cloud.covariance, truth.covariance, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_refitted_synapses_of_the_frozen_backbone_forget_a_whole_task(backbone, make_task, gone):
    config = ArtsyPaperConfig(**QUICK, gate_input="h0", gates="reconsolidate")
    strategy, never = ArtsyPaper(backbone, config), ArtsyPaper(backbone, config)
    for index, labels in enumerate([("a", "b"), ("c", "d"), ("e", "a")], start=1):
        strategy.learn(make_task(index, labels))
        if index != gone:
            never.learn(make_task(index, labels))

    report = strategy.unlearn(tasks=[gone])

    images = make_task(2, ("a", "c", "e")).held_out_images
    assert strategy.classes_ == never.classes_
    found, expected = strategy.score(images), never.score(images)
    assert torch.allclose(found.routes.currents, expected.routes.currents, atol=1e-5)
    # Class `a` stays when task 1 goes: the sub-network of task 3 learned it under another number.
    assert report.exact_scores == (gone != 1)
    if report.exact_scores:
        assert torch.allclose(found.logits, expected.logits, atol=1e-5)


@pytest.mark.parametrize("gates", ["frozen", "reconsolidate"])
@pytest.mark.parametrize("gate_input", ["sum", "h0"])
def test_unlearning_the_newest_task_gives_back_synapses_and_thresholds_to_the_bit(
    backbone, make_task, gates, gate_input
):
    options = {"gates": gates, "gate_input": gate_input, "gate_recall": 0.75}
    never = learned(backbone, make_task, n_tasks=2, **options)
    strategy = learned(backbone, make_task, n_tasks=3, **options)
    images = make_task(2, ("c", "d")).held_out_images

    report = strategy.unlearn(tasks=[3])

    assert report.exact
    expected = never.state_dict()
    state = strategy.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert torch.equal(strategy.predict(images).currents, never.predict(images).currents)


def test_unlearning_an_older_task_says_that_thresholds_come_from_replay(backbone, make_task):
    options = {"gates": "reconsolidate", "gate_input": "h0", "gate_recall": 0.75}
    strategy = learned(backbone, make_task, **options)

    report = strategy.unlearn(tasks=[2])

    assert not report.exact_scores
    assert "on replay" in report.residue
    # Task 1 was measured before task 2 came, task 3 after it.
    assert [gate.measured is None for gate in strategy.gates] == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [{"gate_recall": 0.0}, {"gate_recall": 1.1}, {"combine": "product"}, {"gates": "ajar"}],
)
def test_refuses_options_that_mean_nothing(wrong):
    with pytest.raises(ConfigError):
        ArtsyPaperConfig(**wrong)


@pytest.mark.parametrize("combine", ["sum", "concat"])
@pytest.mark.parametrize("gate_input", ["sum", "h0"])
@pytest.mark.parametrize("gates", ["frozen", "reconsolidate"])
@pytest.mark.parametrize("recall", [None, 0.9])
def test_every_mix_of_options_unlearns_a_class_and_comes_back_from_disk(
    backbone, make_task, combine, gate_input, gates, recall
):
    options = {
        "combine": combine,
        "gate_input": gate_input,
        "gates": gates,
        "gate_recall": recall,
    }
    strategy = learned(backbone, make_task, n_tasks=2, **options)
    images = make_task(1, ("a", "b")).held_out_images

    strategy.unlearn(classes=["a"])
    packed = artifact.pack(strategy, seed=7, code_versions={})
    loaded = artifact.load(packed.manifest, packed.files.__getitem__, backbone)

    for learner in (strategy, loaded):
        learner.learn(make_task(3, ("e", "a")))
    expected, prediction = strategy.predict(images), loaded.predict(images)
    assert torch.equal(prediction.probabilities, expected.probabilities)
    assert torch.equal(prediction.thresholds, expected.thresholds)
    assert torch.equal(prediction.currents, expected.currents)


def test_a_task_s_file_stays_the_same_when_synapses_are_fitted_anew(backbone, make_task):
    options = {"gates": "reconsolidate", "gate_recall": 0.9}
    strategy = learned(backbone, make_task, n_tasks=2, **options)
    before = artifact.pack(strategy, seed=7, code_versions={})

    strategy.learn(make_task(3, ("e", "f")))

    after = artifact.pack(strategy, seed=7, code_versions={})
    assert len(before.files.keys() & after.files.keys()) == 2


@pytest.mark.parametrize("lost", ["gates.1.threshold", "tasks.2.replay.seed"])
def test_refuses_a_state_without_what_its_options_need(backbone, make_task, lost):
    strategy = learned(backbone, make_task, n_tasks=2, gates="reconsolidate", gate_recall=0.9)
    state = strategy.state_dict()
    del state[lost]
    another = ArtsyPaper(backbone, strategy.config)
    another.classes_, another.task_indexes_ = strategy.classes_, strategy.task_indexes_

    with pytest.raises(CheckpointError):
        another.load_state_dict(state)
