import pytest
import torch
from torch.nn import functional as F

from models import artifact
from models.errors import ConfigError
from models.strategies.icarl import (
    ICaRL,
    ICaRLConfig,
    absent_classes,
    herd,
    multi_label_loss,
    wanted_answers,
)

QUICK = {"epochs": 2, "bottleneck": 8}


def naive_herd(features: torch.Tensor, n: int) -> list[int]:
    """Algorithm 4 of the paper, word by word."""
    mean = sum(list(features)) / len(features)
    chosen: list[int] = []
    while len(chosen) < n:
        gaps = {}
        for i in set(range(len(features))) - set(chosen):
            together = [features[j] for j in [*chosen, i]]
            gaps[i] = float((mean - sum(together) / len(together)).norm())
        chosen.append(min(gaps, key=gaps.__getitem__))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_herding_picks_what_the_paper_says(seed):
    features = torch.randn(
        15, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )

    assert herd(features, 7).tolist() == naive_herd(features, 7)


def test_herding_follows_the_mean_closer_than_chance():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 8, generator=generator)

    herded = (features[herd(features, 10)].mean(dim=0) - features.mean(dim=0)).norm()

    rows = (torch.randperm(200, generator=generator)[:10] for _ in range(50))
    by_chance = [(features[r].mean(dim=0) - features.mean(dim=0)).norm() for r in rows]
    assert herded < min(by_chance) / 2


def test_herding_takes_every_image_where_there_are_few_and_none_twice():
    assert sorted(herd(torch.ones(3, 2), 20).tolist()) == [0, 1, 2]


def test_what_a_task_shows_is_learned_from_labels_and_old_classes_from_old_answers():
    # Classes 0 to 2 are known; the task brings more of class 1, and class 3. The last image is an exemplar of class 2.
    old = absent_classes(torch.tensor([1, 3, 1]), 3)
    logits = torch.tensor([[-1.0, 5.0, 0.0], [2.0, 5.0, 1.0], [0.0, 5.0, 3.0]])

    wanted = wanted_answers(torch.tensor([1, 3, 2]), 4, logits, old)

    assert old.tolist() == [0, 2]
    assert torch.equal(wanted[:, old], torch.sigmoid(logits[:, old]))
    assert wanted[:, [1, 3]].tolist() == [[1, 0], [0, 1], [0, 0]]


def test_old_answers_pull_only_where_the_network_has_moved():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    wanted = torch.sigmoid(logits.detach())
    wanted[:, 2] = 1

    multi_label_loss(logits, wanted).backward()

    assert torch.allclose(logits.grad[:, :2], torch.zeros(4, 2), atol=1e-7)
    assert (logits.grad[:, 2] < 0).all()


def test_answers_with_the_nearest_mean_of_exemplars_under_the_newest_features(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "b"), n=7)]
    strategy = ICaRL(backbone, ICaRLConfig(exemplars_per_class=4, **QUICK))
    for task in tasks:
        strategy.learn(task)
    images = torch.cat([task.held_out_images for task in tasks])

    def embed(pixels: torch.Tensor) -> torch.Tensor:
        return F.normalize(backbone.embed(pixels, strategy.network.adapter), dim=1)

    kept, targets = strategy.exemplars.all()
    means = torch.stack([embed(kept[targets == k]).mean(dim=0) for k in range(3)])
    assert torch.allclose(strategy.means, means, atol=1e-6)
    expected = torch.cdist(embed(images), F.normalize(means, dim=1)).argmin(dim=1)
    assert torch.equal(strategy.predict_logits(images).argmax(dim=1), expected)


def test_keeps_the_images_that_herding_chooses_by_the_new_features(backbone, make_task):
    task = make_task(1, ("a", "b"))
    strategy = ICaRL(backbone, ICaRLConfig(exemplars_per_class=4, **QUICK))
    strategy.learn(task)

    features = F.normalize(backbone.embed(task.images, strategy.network.adapter), dim=1)
    first, second = naive_herd(features[:12].double(), 4), naive_herd(features[12:].double(), 4)
    rows = torch.tensor([*first, *(12 + row for row in second)])
    kept, targets = strategy.exemplars.all()
    assert torch.equal(kept, task.images[rows])
    assert targets.tolist() == [0] * 4 + [1] * 4


def test_keeps_so_many_images_of_a_class_and_task_and_never_changes_them(backbone, make_task):
    strategy = ICaRL(backbone, ICaRLConfig(exemplars_per_class=4, **QUICK))
    strategy.learn(make_task(1, ("a", "b")))
    before = artifact.pack(strategy, seed=7, code_versions={})
    strategy.learn(make_task(3, ("b", "c"), n=3))
    after = artifact.pack(strategy, seed=7, code_versions={})

    state = strategy.state_dict()
    assert state["targets.1"].tolist() == [0] * 4 + [1] * 4
    assert state["targets.3"].tolist() == [1] * 3 + [2] * 3
    uploaded = {image.numpy().tobytes() for image in make_task(1, ("a", "b")).images}
    assert {image.numpy().tobytes() for image in state["tasks.1.images"]} <= uploaded
    assert len(set(before.files) & set(after.files)) == 1
    assert ICaRL.keeps_images


def test_rehearsal_and_old_answers_keep_the_first_task_known(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d")), make_task(3, ("e", "f"))]
    strategy = ICaRL(backbone, ICaRLConfig(epochs=8, bottleneck=8))
    for task in tasks:
        strategy.learn(task)

    answers = strategy.predict_logits(tasks[0].held_out_images).argmax(dim=1)
    known = strategy.targets(tasks[0].held_out_labels)
    assert (answers == known).float().mean() > 0.9


def test_refuses_to_keep_nothing():
    with pytest.raises(ConfigError, match="exemplars_per_class"):
        ICaRLConfig(exemplars_per_class=0)
