"""Tasks learned, consolidated together, taken back and taken out."""

from dataclasses import replace

import pytest
import torch

from models import artifact
from models.errors import CheckpointError
from models.evidence import EvidenceHead
from models.evidence_synapse import NEVER
from models.joined_heads import JoinedHeads
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy
from tests.models.taught import consolidate, teach

CONFIG = ArtsyConfig(adapt="always", epochs=1, least_steps=3, bottleneck=4)
PARTS = (("a", "b"), ("c",), ("d", "e"), ("f", "a"))


@pytest.fixture
def tasks(make_task):
    return [make_task(index, labels, n=6) for index, labels in enumerate(PARTS, start=1)]


def reloaded(strategy, backbone):
    packed = artifact.pack(strategy, seed=7, code_versions={})
    return artifact.load(packed.manifest, packed.files.__getitem__, backbone)


def learned(backbone, tasks, config=CONFIG):
    strategy = Artsy(backbone, config)
    for task in tasks:
        strategy.learn(task)
    return strategy


def open_synapses(strategy):
    """Let every synapse that is there fire for every image."""
    for number, each in strategy.history.consolidations.items():
        open_ = {i: one.with_threshold(0.0) for i, one in each.subnetworks.items()}
        strategy.history.consolidations[number] = replace(each, subnetworks=open_)
    strategy._head = None
    strategy._build()


def assert_same(one, other, images):
    assert one.classes_ == other.classes_
    assert one.unconsolidated_ == other.unconsolidated_
    a, b = one.predict(images), other.predict(images)
    torch.testing.assert_close(a.probabilities, b.probabilities, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(a.novelty, b.novelty, atol=1e-3, rtol=1e-3)


def test_learning_leaves_the_features_alone(backbone, tasks):
    strategy = learned(backbone, tasks)

    assert strategy.functional is None
    assert strategy.unconsolidated_ == (1, 2, 3, 4)
    assert strategy.predict(tasks[0].images).passes.unique().tolist() == [1]


def test_what_would_be_answered_without_sub_networks_is_told_beside_the_answer(backbone, tasks):
    """Of a twin that was taught the same and may ask none of them."""
    always, never = (
        teach(Artsy(backbone, replace(CONFIG, max_routed=n)), tasks[0], tasks[2]) for n in (2, 0)
    )
    open_synapses(always)

    asked, alone = (strategy.predict(tasks[0].images) for strategy in (always, never))

    assert asked.functional.any(dim=1).all()
    assert not alone.functional.any()
    assert not torch.allclose(asked.probabilities, alone.probabilities, atol=1e-3)
    for unrouted in (asked.unrouted, alone.unrouted):
        torch.testing.assert_close(unrouted, alone.probabilities, atol=1e-5, rtol=1e-4)


def test_a_sub_network_that_answers_anyway_has_no_threshold_to_reach(backbone, tasks):
    """The functional adapter is a copy of the first one: it fires as soon as a second one has moved it."""
    strategy = learned(backbone, tasks[:1])
    strategy.consolidate(tasks[:1], seed=7)
    open_synapses(strategy)

    alone = strategy.predict(tasks[0].images)
    strategy.learn(tasks[2])
    strategy.consolidate(tasks[2:3], seed=7)
    both = strategy.predict(tasks[0].images)

    assert alone.thresholds.tolist() == [NEVER]
    assert not alone.functional.any()
    assert both.thresholds[0] == 0
    assert both.functional[:, 0].all()


def test_tasks_that_are_consolidated_together_share_one_sub_network(backbone, tasks):
    strategy = learned(backbone, tasks[:3])
    strategy.consolidate(tasks[:3], seed=7)
    first, *others = strategy.subnetworks.values()

    assert strategy.unconsolidated_ == ()
    assert list(strategy.subnetworks) == [1, 2, 3]
    assert all(other.adapter is first.adapter for other in others)
    assert [len(each.classes) for each in strategy.subnetworks.values()] == [2, 1, 2]
    again = reloaded(strategy, backbone)
    first, *others = again.subnetworks.values()
    assert all(other.adapter is first.adapter for other in others)
    images = torch.cat([task.held_out_images for task in tasks])
    assert torch.equal(again.predict(images).probabilities, strategy.predict(images).probabilities)


def test_rows_are_those_of_the_images_after_the_move_and_carried_from_then_on(backbone, tasks):
    strategy = learned(backbone, tasks[:2])
    strategy.consolidate(tasks[:1], seed=7)
    seen = backbone.embed(tasks[0].images, strategy.functional, pooling="token_and_patches")

    shown = strategy.shown
    assert strategy.history.carried_tasks == [2]
    assert torch.allclose(shown.means[0], seen[:6].double().mean(dim=0), atol=1e-3)
    strategy.consolidate(tasks[1:2], seed=7)
    drift = strategy.history.consolidations[2].drift
    assert strategy.history.carried_tasks == [1]
    assert torch.allclose(strategy.shown.means[0], drift.apply(shown.means[:1])[0], atol=1e-9)


@pytest.mark.parametrize("gone", [3, 2])
def test_what_the_newest_consolidation_was_trained_by_is_taken_back(backbone, tasks, gone):
    strategy = teach(Artsy(backbone, CONFIG), tasks[0])
    for task in tasks[1:3]:
        strategy.learn(task)
    strategy.consolidate(tasks[1:3], seed=7)

    report = strategy.unlearn(tasks=[gone])

    never = teach(Artsy(backbone, CONFIG), tasks[0])
    stays = tasks[3 - gone + 1]
    never.learn(stays)
    assert report.exact_scores
    assert strategy.unconsolidated_ == (stays.index,)
    assert_same(strategy, never, tasks[0].held_out_images)
    assert_same(reloaded(strategy, backbone), never, tasks[0].held_out_images)


def test_a_task_learned_since_keeps_the_move_and_the_trace(backbone, tasks):
    strategy = learned(backbone, tasks[:2])
    strategy.consolidate(tasks[:2], seed=7)
    strategy.learn(tasks[2])

    report = strategy.unlearn(tasks=[1, 2])

    assert not report.exact_scores
    assert strategy.classes_ == ("d", "e")
    assert [key for key in strategy.state_dict() if "adapter" in key or ".own." in key] == []
    assert strategy.functional is not None
    after = reloaded(strategy, backbone)
    images = tasks[2].held_out_images
    assert torch.equal(after.predict(images).probabilities, strategy.predict(images).probabilities)
    # And goes on.
    for each in (strategy, after):
        each.learn(tasks[3])
        consolidate(each, *tasks[2:])
    assert torch.equal(after.predict(images).probabilities, strategy.predict(images).probabilities)


def test_the_mean_counts_tasks(backbone, tasks):
    """Three tasks consolidated at once move the features as much as each of them in its turn."""
    strategy = teach(Artsy(backbone, CONFIG), tasks[0])
    before = {key: value.clone() for key, value in strategy.functional.state_dict().items()}
    for task in tasks[1:]:
        strategy.learn(task)
    strategy.consolidate(tasks[1:], seed=7)

    own = strategy.history.consolidations[2].adapter.state_dict()
    for key, now in strategy.functional.state_dict().items():
        torch.testing.assert_close(now, before[key] + 0.75 * (own[key] - before[key]))


def test_a_lone_class_is_told_from_the_means_of_the_others(backbone, make_task):
    strategy = learned(backbone, [make_task(1, ("a", "b"), n=12), make_task(2, ("c",), n=12)])
    before = strategy.fingerprint_of_features()

    report = strategy.consolidate([make_task(2, ("c",), n=12)], seed=7)

    assert report.adopted
    assert strategy.fingerprint_of_features() != before


def test_a_first_lone_class_has_nothing_to_be_told_from(backbone, make_task):
    task = make_task(1, ("a",), n=12)
    strategy = learned(backbone, [task])

    report = strategy.consolidate([task], seed=7)

    assert not report.adopted
    assert "nothing to tell apart" in report.reason
    assert strategy.unconsolidated_ == (1,)


def test_forged_orders_of_episodes_are_refused(backbone, tasks):
    strategy = learned(backbone, tasks[:2])
    strategy.consolidate(tasks[:2], seed=7)
    state = strategy.state_dict()
    other = Artsy(backbone, CONFIG)
    other.classes_, other.class_tasks_ = strategy.classes_, strategy.class_tasks_
    other.task_indexes_ = strategy.task_indexes_

    for rows in (
        [[-1, 1], [1, 0], [2, 0]],
        [[1, 0], [2, 0], [-1, 1], [-1, 1]],
        [[1, 0], [2, 0], [-1, 0]],
        [[1, 0], [2, 0], [0, 1], [-1, 1]],
        [[1, 0], [2, 0], [-2, 1]],
    ):
        with pytest.raises(CheckpointError):
            other.load_state_dict(state | {"episodes": torch.tensor(rows)})


@pytest.mark.parametrize("then", ["learns", "consolidates", "unlearns"])
def test_whoever_goes_on_shares_what_is_kept_and_ends_as_of_the_artifact(backbone, tasks, then):
    known = learned(backbone, tasks[:2])
    known.consolidate(tasks[:2], seed=7)
    known.learn(tasks[2])
    before = artifact.pack(known, seed=7, code_versions={}).manifest

    def gone_on(strategy):
        if then == "learns":
            strategy.learn(tasks[3])
        elif then == "consolidates":
            strategy.consolidate(tasks[2:3], seed=7)
        else:
            strategy.unlearn(tasks=[1])
        return artifact.pack(strategy, seed=7, code_versions={}).manifest

    shared = Artsy(backbone, CONFIG)
    shared.go_on_from(known)
    rows = known.history.episodes[0].records.rows
    assert shared.history.episodes[0].records.rows is rows

    assert gone_on(shared) == gone_on(reloaded(known, backbone)) != before
    assert artifact.pack(known, seed=7, code_versions={}).manifest == before


def test_answers_to_features_are_those_of_the_joined_heads(backbone, tasks):
    strategy = learned(backbone, tasks)
    images = tasks[0].images
    by_features = strategy.predict_features(strategy.features_of(images), images.__getitem__)
    assert isinstance(strategy._head, EvidenceHead)

    by_images = strategy.predict(images)

    assert isinstance(strategy._head, JoinedHeads)
    torch.testing.assert_close(by_features.probabilities, by_images.probabilities)
    torch.testing.assert_close(by_features.novelty, by_images.novelty, atol=1e-3, rtol=1e-3)
