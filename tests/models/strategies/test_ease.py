import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from models import artifact
from models.errors import ConfigError
from models.strategies.ease import EASE, EASEConfig, complete
from models.strategies.values import Task

QUICK = EASEConfig(epochs=2, bottleneck=8)


def learned(backbone, config, *tasks) -> EASE:
    strategy = EASE(backbone, config)
    for task in tasks:
        strategy.learn(task)
    return strategy


@pytest.fixture
def tasks(make_task) -> list[Task]:
    return [
        make_task(i, labels)
        for i, labels in enumerate([("a", "b"), ("c", "d"), ("e", "f", "g")], 1)
    ]


def literal_scores(
    strategy, tasks, image, alpha: float, *, pretrained: bool = False
) -> list[float]:
    """Follow the paper for one image: a loop a class, a loop a branch; every task brings new classes only."""
    branches = ([None] if pretrained else []) + strategy.adapters
    first = int(pretrained)
    h = [strategy.backbone.embed(image, adapter)[0] for adapter in branches]
    measured = {}
    for i, task in enumerate(tasks):
        for j, adapter in enumerate(branches[: first + i + 1]):
            features = strategy.backbone.embed(task.images, adapter)
            for label in task.classes:
                rows = [row for row, name in enumerate(task.labels) if name == label]
                measured[label, j] = features[rows].mean(dim=0)
    scores = []
    for i, task in enumerate(tasks):
        own = first + i
        for label in task.classes:
            score = 0.0
            for j in range(len(branches)):
                if (label, j) in measured:
                    prototype = measured[label, j]
                else:
                    others = tasks[j - first].classes
                    alike = [
                        math.exp(cosine_similarity(measured[label, own], measured[s, own], dim=0))
                        for s in others
                    ]
                    prototype = sum(
                        a / sum(alike) * measured[s, j] for a, s in zip(alike, others, strict=True)
                    )
                weight = 1.0 if j == own else alpha / (len(branches) - 1)
                score += weight * float(cosine_similarity(h[j], prototype, dim=0))
            scores.append(score)
    return scores


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_scores_are_the_papers_formula(backbone, tasks, pretrained):
    config = EASEConfig(epochs=2, bottleneck=8, alpha=0.3, use_pretrained_branch=pretrained)
    strategy = learned(backbone, config, *tasks)
    image = tasks[1].held_out_images[:1]

    found = strategy.predict_logits(image)[0]

    expected = literal_scores(strategy, tasks, image, 0.3, pretrained=pretrained)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_one_task_is_plain_cosine(backbone, tasks):
    strategy = learned(backbone, QUICK, tasks[0])
    image = tasks[0].held_out_images[:1]

    expected = literal_scores(strategy, tasks[:1], image, 0.1)

    assert strategy.predict_logits(image)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_completion_weighs_the_new_classes_by_their_likeness_in_the_own_branch():
    # Branch 0 has seen all of classes 0, 1, 2; class 0 is missing in branch 1.
    means = torch.tensor(
        [[[1.0, 0.0], [2.0, 0.0], [0.0, 5.0]], [[0.0, 0.0], [4.0, 0.0], [0.0, 8.0]]],
        dtype=torch.float64,
    )
    seen = torch.tensor([[True, True, True], [False, True, True]])

    found = complete(means, seen, seen, torch.tensor([0, 1, 1]))

    share = math.e / (math.e + 1)  # cosines 1 and 0
    assert torch.allclose(found[1, 0], torch.tensor([4 * share, 8 * (1 - share)]).double())
    assert torch.equal(found[seen], means[seen])


def test_completion_reads_the_task_of_the_branch_or_all_it_has_seen(backbone, tasks):
    strategy = learned(backbone, QUICK, *tasks)
    eager = learned(backbone, EASEConfig(epochs=2, bottleneck=8, completion="seen"), *tasks)

    once, again = strategy.prototypes, eager.prototypes

    same = strategy.counts > 0
    assert torch.equal(once[same], again[same])
    # Classes a, b in the branch of c, d: completed from c and d, or from c, ..., g.
    means = strategy.means
    for prototypes, teachers in ((once, slice(2, 4)), (again, slice(2, 7))):
        alike = cosine_similarity(means[0, 0][None], means[0, teachers])
        expected = torch.softmax(alike, dim=0) @ means[1, teachers]
        assert torch.allclose(prototypes[1, 0], expected)
    # In the newest branch both are the same.
    assert torch.equal(once[2], again[2])


def test_every_image_passes_every_branch(backbone, tasks):
    plain = learned(backbone, QUICK, *tasks)
    more = learned(backbone, EASEConfig(epochs=2, bottleneck=8, use_pretrained_branch=True), *tasks)
    images = tasks[0].held_out_images
    calls = []
    embed = backbone.embed

    class Counting:
        def __getattr__(self, name):
            return getattr(backbone, name)

        def embed(self, *arguments):
            calls.append(arguments)
            return embed(*arguments)

    for strategy, passes in ((plain, 3), (more, 4)):
        strategy.backbone = Counting()
        calls.clear()
        assert strategy.predict(images).passes.tolist() == [passes] * len(images)
        assert len(calls) == passes


def test_more_images_of_known_classes_add_no_branch_and_give_the_mean_of_all(backbone, make_task):
    first = make_task(1, ("a", "b"))
    halves = [Task(index, first.images[rows], first.labels[rows], seed=7) for index, rows in
              ((1, slice(0, None, 2)), (3, slice(1, None, 2)))]  # fmt: skip
    second = make_task(2, ("c", "d"))
    strategy = learned(backbone, QUICK, halves[0], second)

    report = strategy.learn(halves[1])

    assert report.details == {**report.details, "loss": None, "branches": 2}
    assert [key for key in strategy.state_dict() if key.startswith("tasks.3.")] == ["tasks.3.sums"]
    for label in ("a", "b"):
        k = strategy.classes_.index(label)
        rows = torch.tensor([name == label for name in first.labels])
        everything = backbone.embed(first.images[rows], strategy.adapters[0]).double().mean(dim=0)
        assert torch.allclose(strategy.prototypes[0, k], everything, atol=1e-6)
        # In the second branch the measured images take the place of what was completed.
        late = torch.tensor([name == label for name in halves[1].labels])
        measured = backbone.embed(halves[1].images[late], strategy.adapters[1]).double().mean(dim=0)
        assert torch.allclose(strategy.prototypes[1, k], measured, atol=1e-6)


def test_extensions_in_any_order_give_the_same_scores(backbone, make_task):
    parts = [make_task(1, ("a", "b")), make_task(2, ("c", "d"))]
    more = make_task(3, ("a", "c"), n=20), make_task(4, ("b",), n=8)
    images = torch.cat([part.held_out_images for part in parts])

    one = learned(backbone, QUICK, *parts, more[0], more[1])
    other = learned(backbone, QUICK, *parts, more[1], more[0])

    assert torch.allclose(one.predict_logits(images), other.predict_logits(images), atol=1e-6)


def test_a_task_of_known_and_new_classes_adds_a_branch_that_completes_the_rest(backbone, make_task):
    strategy = learned(backbone, QUICK, make_task(1, ("a", "b")), make_task(2, ("b", "c")))

    means, prototypes = strategy.means, strategy.prototypes

    assert strategy.own_branches.tolist() == [0, 0, 1]
    alike = cosine_similarity(means[0, 0][None], means[0, 1:])
    assert torch.allclose(prototypes[1, 0], torch.softmax(alike, dim=0) @ means[1, 1:])
    assert torch.equal(prototypes[1, 1], means[1, 1])


def test_the_files_of_a_task_never_change(backbone, tasks, make_task):
    strategy = learned(backbone, QUICK, *tasks[:2])
    before = artifact.pack(strategy, seed=7, code_versions={})

    strategy.learn(tasks[2])
    strategy.learn(make_task(4, ("a", "d")))

    after = artifact.pack(strategy, seed=7, code_versions={})
    assert len(before.files.keys() & after.files.keys()) == 2
    assert len(after.files) == 5  # three branches, the sums of task 4, and what is shared


@pytest.mark.parametrize(
    "wrong", [{"alpha": -0.1}, {"alpha": 1.5}, {"completion": "never"}, {"epochs": 0}]
)
def test_refuses_hyperparameters_out_of_range(wrong):
    with pytest.raises(ConfigError):
        EASEConfig(**wrong)
