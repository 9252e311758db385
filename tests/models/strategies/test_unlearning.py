"""Taking tasks and classes out again, compared with learners that never saw them."""

import re

import pytest
import torch

from models import artifact
from models.errors import (
    CheckpointError,
    MissingImagesError,
    UnknownContentError,
    UnlearningError,
)
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_gaussian.episodes import replay
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.artsy_paper.strategy import ArtsyPaper
from models.strategies.catalog import CATALOG
from models.strategies.ease import EASE, EASEConfig
from models.strategies.finetune import Finetune, FinetuneConfig
from models.strategies.icarl import ICaRL, ICaRLConfig
from models.strategies.joint import Joint, JointConfig
from models.strategies.ranpac import RanPAC, RanPACConfig
from models.strategies.simplecil import SimpleCIL, SimpleCILConfig
from models.strategies.values import Task
from tests.models.taught import teach

QUICK = {"epochs": 1, "bottleneck": 4}
FROZEN = RanPACConfig(adapt="none", projection_width=48)


@pytest.fixture
def tasks(make_task) -> list[Task]:
    """Class `a` comes first in the task that goes, and again later."""
    parts = [("a", "b"), ("c", "d"), ("e", "a")]
    return [make_task(index, labels, n=6) for index, labels in enumerate(parts, start=1)]


def learned(strategy, tasks):
    return teach(strategy, *tasks)


def without(task: Task, label: str) -> Task:
    rows = torch.tensor([name != label for name in task.labels])
    return Task(
        task.index,
        task.images[rows],
        tuple(name for name in task.labels if name != label),
        seed=task.seed,
    )


def same_scores(one, other, images, *, tolerance: float = 0.0) -> bool:
    """Whether both know the same classes in the same order and score alike, to the bit without a tolerance."""
    assert one.classes_ == other.classes_
    assert one.class_tasks_ == other.class_tasks_
    assert one.task_indexes_ == other.task_indexes_
    found, expected = one.predict_logits(images), other.predict_logits(images)
    if not tolerance:
        return torch.equal(found, expected)
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_simplecil_without_a_task_is_one_that_never_saw_it(backbone, tasks, gone):
    strategy = learned(SimpleCIL(backbone, SimpleCILConfig()), tasks)

    report = strategy.unlearn(tasks=[gone])

    never = learned(
        SimpleCIL(backbone, SimpleCILConfig()), [task for task in tasks if task.index != gone]
    )
    assert same_scores(strategy, never, tasks[1].held_out_images)
    assert report.exact_scores
    assert report.exact == (gone == 3)
    assert report.n_tasks == 1
    if report.exact:
        assert torch.equal(
            strategy.predict(tasks[0].images).probabilities,
            never.predict(tasks[0].images).probabilities,
        )


def test_simplecil_without_a_class_is_one_that_never_saw_it(backbone, tasks):
    strategy = learned(SimpleCIL(backbone, SimpleCILConfig()), tasks)

    report = strategy.unlearn(classes=["a"])

    never = learned(SimpleCIL(backbone, SimpleCILConfig()), [without(task, "a") for task in tasks])
    # The features of a batch of another size differ in the last bits.
    assert same_scores(strategy, never, tasks[1].held_out_images, tolerance=1e-6)
    assert (report.n_tasks, report.n_classes) == (0, 1)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_ranpac_without_a_task_is_one_that_never_saw_it(backbone, tasks, gone):
    strategy = learned(RanPAC(backbone, FROZEN), tasks)

    report = strategy.unlearn(tasks=[gone], images=[tasks[gone - 1]])

    never = learned(RanPAC(backbone, FROZEN), [task for task in tasks if task.index != gone])
    assert same_scores(strategy, never, tasks[1].held_out_images, tolerance=1e-3)
    assert torch.allclose(strategy.moments.gram, never.moments.gram, rtol=1e-9, atol=1e-9)
    assert torch.allclose(
        strategy.statistics.scatter, never.statistics.scatter, rtol=1e-9, atol=1e-9
    )
    assert report.exact_scores


def test_ranpac_needs_the_very_images(backbone, tasks, make_task):
    strategy = learned(RanPAC(backbone, FROZEN), tasks)
    before = strategy.predict_logits(tasks[0].images)
    others = Task(2, 255 - tasks[1].images, tasks[1].labels, seed=7)

    for images in ([], [without(tasks[1], "c")], [others]):
        with pytest.raises(MissingImagesError):
            strategy.unlearn(tasks=[2], images=images)

    assert torch.equal(strategy.predict_logits(tasks[0].images), before)


def test_ranpac_says_that_its_adapter_saw_the_first_task(backbone, tasks):
    strategy = learned(RanPAC(backbone, RanPACConfig(projection_width=48, **QUICK)), tasks)

    later = strategy.unlearn(tasks=[2], images=[tasks[1]])
    first = strategy.unlearn(tasks=[1], images=[tasks[0]])

    assert later.exact_scores
    assert not first.exact_scores
    assert "adapter" in first.residue


@pytest.mark.parametrize("gone", [1, 3])
def test_joint_without_a_task_is_one_that_never_saw_it_to_the_bit(backbone, tasks, gone):
    strategy = learned(Joint(backbone, JointConfig(**QUICK)), tasks)

    report = strategy.unlearn(tasks=[gone])

    never = learned(
        Joint(backbone, JointConfig(**QUICK)), [task for task in tasks if task.index != gone]
    )
    assert same_scores(strategy, never, tasks[1].held_out_images)
    assert report.exact_scores


@pytest.mark.parametrize("gone", [2, 3])
def test_ease_without_a_task_is_one_that_never_saw_it(backbone, tasks, gone):
    strategy = learned(EASE(backbone, EASEConfig(**QUICK)), tasks)

    report = strategy.unlearn(tasks=[gone])

    never = learned(
        EASE(backbone, EASEConfig(**QUICK)), [task for task in tasks if task.index != gone]
    )
    assert same_scores(strategy, never, tasks[1].held_out_images)
    assert report.exact_scores


def test_ease_says_what_a_class_leaves_and_refuses_to_lose_the_only_branch(backbone, make_task):
    strategy = learned(
        EASE(backbone, EASEConfig(**QUICK)),
        [make_task(1, ("a", "b"), n=4), make_task(2, ("a",), n=4)],
    )

    with pytest.raises(UnlearningError, match="no sub-network"):
        strategy.unlearn(tasks=[1])
    report = strategy.unlearn(classes=["b"])

    assert "Sub-networks that stay" in report.residue
    assert strategy.classes_ == ("a",)


def test_icarl_drops_exemplars_and_rows_and_says_what_stays(backbone, tasks):
    strategy = learned(ICaRL(backbone, ICaRLConfig(exemplars_per_class=3, **QUICK)), tasks)

    report = strategy.unlearn(classes=["a"])

    kept, targets = strategy.exemplars.all()
    gone = {image.numpy().tobytes() for image in tasks[0].images[:6]}
    assert not gone & {image.numpy().tobytes() for image in kept}
    assert len(kept) == len(targets) == 12
    assert strategy.network.n_classes == len(strategy.means) == 4
    assert "adapter" in report.residue


@pytest.mark.parametrize("adapt", ["evidence", "always"])
def test_artsy_without_its_newest_task_is_one_that_never_saw_it(backbone, tasks, adapt):
    config = ArtsyConfig(adapt=adapt, **QUICK)
    strategy = learned(Artsy(backbone, config), tasks)

    report = strategy.unlearn(tasks=[3])

    never = learned(Artsy(backbone, config), tasks[:2])
    assert torch.equal(strategy.shown.rows, never.shown.rows)
    # The weights of an adapter come back but for the rounding of float32.
    images = tasks[1].held_out_images
    assert same_scores(strategy, never, images, tolerance=1e-2 if adapt == "always" else 0.0)
    assert torch.allclose(
        strategy.predict(images).novelty, never.predict(images).novelty, atol=1e-2
    )
    assert report.exact


@pytest.mark.parametrize("gone", [1, 2])
def test_artsy_without_an_older_task_that_moved_nothing_is_one_that_never_saw_it(
    backbone, tasks, gone
):
    strategy = learned(Artsy(backbone, ArtsyConfig(**QUICK)), tasks)

    report = strategy.unlearn(tasks=[gone])

    never = learned(
        Artsy(backbone, ArtsyConfig(**QUICK)), [task for task in tasks if task.index != gone]
    )
    images = tasks[0].held_out_images
    assert same_scores(strategy, never, images, tolerance=1e-4)
    assert report.exact
    assert not any(key.startswith(f"tasks.{gone}.") for key in strategy.state_dict())


def test_artsy_without_an_older_task_that_moved_features_leaves_other_routes_alone(backbone, tasks):
    strategy = learned(Artsy(backbone, ArtsyConfig(adapt="always", **QUICK)), tasks)
    packed = artifact.pack(strategy, seed=7, code_versions={})
    before = dict(strategy.subnetworks)
    first, second, third = strategy.history.consolidations.values()
    images = tasks[1].held_out_images

    report = strategy.unlearn(tasks=[2])

    assert strategy.classes_ == ("a", "b", "e")
    assert not report.exact_scores
    assert list(strategy.subnetworks) == [1, 3]
    for index, subnetwork in strategy.subnetworks.items():
        features = backbone.embed(images, subnetwork.adapter, pooling="token_and_patches")
        assert torch.equal(
            subnetwork.log_probabilities(features), before[index].log_probabilities(features)
        )
        assert subnetwork.synapse.threshold == before[index].synapse.threshold
    after = artifact.pack(strategy, seed=7, code_versions={})
    # The files of tasks 1 and 3 and of their consolidations are the same; that of the second holds its drift alone.
    assert len(packed.files.keys() & after.files.keys()) == 4
    left = {
        key for key in strategy.state_dict() if re.match(r"tasks\.2\.|consolidations\.2\.", key)
    }
    assert left == {
        f"consolidations.2.{name}" for name in ("tasks", "drift.linear", "drift.offset")
    }
    # By hand: task 1 moved twice, then task 3, whose `a` adds to the first one's.
    moved = third.drift.apply(second.drift.apply(first.records[1].rows.double()))
    expected = torch.cat([moved, third.records[3].rows.double()])
    assert torch.allclose(strategy.shown.rows, expected, rtol=1e-9)
    again = artifact.load(after.manifest, after.files.__getitem__, backbone)
    assert same_scores(again, strategy, images, tolerance=1e-5)


def test_artsy_without_a_class_keeps_the_rows_of_the_others(backbone, tasks):
    strategy = learned(Artsy(backbone, ArtsyConfig(adapt="always", **QUICK)), tasks)

    report = strategy.unlearn(classes=["a", "c", "d"])

    assert strategy.classes_ == ("b", "e")
    assert (report.n_tasks, report.n_classes) == (1, 3)
    # Task 3 was taken back: it waits again. Task 2 is gone, but for what it moved.
    assert [episode.index for episode in strategy.history.episodes] == [1, -1, -2, 3]
    assert strategy.unconsolidated_ == (3,)
    assert strategy.shown.counts.tolist() == [6, 6]
    # A sub-network of one class has nothing to tell apart: it never fires.
    assert strategy.predict(tasks[0].images).thresholds.tolist() == [1.0, 1.0]


def test_artsy_gaussian_without_its_newest_task_is_one_that_never_saw_it(backbone, tasks):
    strategy = learned(ArtsyGaussian(backbone, ArtsyGaussianConfig(**QUICK)), tasks)

    report = strategy.unlearn(tasks=[3])

    never = learned(ArtsyGaussian(backbone, ArtsyGaussianConfig(**QUICK)), tasks[:2])
    # Its weights come back but for the rounding of float32.
    for key, value in never.functional.state_dict().items():
        assert torch.allclose(strategy.functional.state_dict()[key], value, atol=1e-6)
    assert torch.equal(strategy.statistics.means, never.statistics.means)
    assert torch.equal(strategy.statistics.scatter, never.statistics.scatter)
    assert same_scores(strategy, never, tasks[1].held_out_images, tolerance=1e-2)
    assert report.exact


def test_artsy_gaussian_without_an_older_task_replays_the_rest_and_leaves_other_routes_alone(
    backbone, tasks
):
    strategy = learned(ArtsyGaussian(backbone, ArtsyGaussianConfig(**QUICK)), tasks)
    packed = artifact.pack(strategy, seed=7, code_versions={})
    before = {s.index: s for s in strategy.subnetworks}
    episodes = list(strategy.episodes)
    images = tasks[1].held_out_images

    report = strategy.unlearn(tasks=[2])

    assert strategy.classes_ == ("a", "b", "e")
    assert not report.exact_scores
    assert [s.index for s in strategy.subnetworks] == [1, 3]
    for subnetwork in strategy.subnetworks:
        old = before[subnetwork.index]
        own, old_own = (backbone.embed(images, s.adapter) for s in (subnetwork, old))
        assert torch.equal(own, old_own)
        assert torch.equal(subnetwork.log_probabilities(own), old.log_probabilities(old_own))
        assert subnetwork.synapse.threshold == old.synapse.threshold
    after = artifact.pack(strategy, seed=7, code_versions={})
    # The files of tasks 1 and 3 are the same; that of task 2 holds its drift alone.
    assert len(packed.files.keys() & after.files.keys()) == 2
    left = {key for key in strategy.state_dict() if key.startswith("tasks.2.")}
    assert left == {"tasks.2.drift.linear", "tasks.2.drift.offset"}
    # By hand: task 1 moved twice, then task 3, whose `a` adds to the first one's.
    first, second, third = episodes
    expected = first.records.gaussians()
    expected.transport(second.drift)
    expected.transport(third.drift)
    expected.merge(third.records, torch.tensor([0, 2]), 3)
    assert torch.allclose(strategy.statistics.means, expected.means, rtol=1e-9)
    assert torch.allclose(strategy.statistics.scatters, expected.scatters, rtol=1e-9)


def test_artsy_gaussian_without_a_class_pools_the_records_of_the_others(backbone, tasks):
    strategy = learned(ArtsyGaussian(backbone, ArtsyGaussianConfig(**QUICK)), tasks)

    report = strategy.unlearn(classes=["a", "c", "d"])

    assert strategy.classes_ == ("b", "e")
    assert (report.n_tasks, report.n_classes) == (1, 3)
    assert [len(episode.classes) for episode in strategy.episodes] == [1, 0, 1]
    # A sub-network of one class has nothing to tell apart: it never fires.
    assert strategy.predict(tasks[0].images).thresholds.tolist() == [1.0, 1.0]
    again = replay(strategy.episodes, backbone.feature_width)
    assert torch.equal(strategy.statistics.scatter, again.scatter)


def test_artsy_paper_without_its_newest_task_is_one_that_never_saw_it(backbone, tasks):
    config = ArtsyPaperConfig(**QUICK)
    strategy = learned(ArtsyPaper(backbone, config), tasks)

    newest = strategy.unlearn(tasks=[3])

    never = learned(ArtsyPaper(backbone, config), tasks[:2])
    assert newest.exact
    assert same_scores(strategy, never, tasks[1].held_out_images)
    older = strategy.unlearn(tasks=[1])
    assert not older.exact_scores
    assert strategy.prototypes.shape == (2, 2, backbone.feature_width)


@pytest.mark.parametrize(
    ("kind", "config"), [(SimpleCIL, SimpleCILConfig()), (Finetune, FinetuneConfig(**QUICK))]
)
def test_without_everything_it_is_as_new(backbone, tasks, kind, config):
    strategy = learned(kind(backbone, config), tasks[:2])

    report = strategy.unlearn(classes=["a", "b", "c", "d"])

    assert report.exact
    assert (report.n_tasks, report.n_classes) == (2, 4)
    assert strategy.classes_ == strategy.task_indexes_ == ()
    packed = artifact.pack(strategy, seed=7, code_versions={})
    again = artifact.load(packed.manifest, packed.files.__getitem__, backbone)
    never = learned(kind(backbone, config), tasks[2:])
    assert same_scores(learned(again, tasks[2:]), never, tasks[0].images)


def test_refuses_what_it_never_learned_and_nothing_at_all(backbone, tasks):
    strategy = learned(SimpleCIL(backbone, SimpleCILConfig()), tasks)

    for named in ({"tasks": [9]}, {"classes": ["a", "z"]}, {}):
        with pytest.raises(UnknownContentError):
            strategy.unlearn(**named)


@pytest.mark.parametrize("kind", [kind for kind in CATALOG if kind.unlearning != "none"])
def test_refuses_a_version_of_an_older_layout(backbone, kind):
    strategy = kind(backbone, kind.config_type())
    strategy.classes_, strategy.class_tasks_, strategy.task_indexes_ = ("a",), (1,), (1,)

    with pytest.raises(CheckpointError):
        strategy.load_state_dict({"statistics.counts": torch.ones(1)})
