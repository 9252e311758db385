import pytest
import torch

from models.errors import ConfigError
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian
from models.strategies.ranpac import RIDGES, RanPAC, RanPACConfig, RidgeMoments

NO_ADAPTER = RanPACConfig(adapt="none", projection_width=48)


def made_up(n: int, width: int, n_classes: int, *, seed: int = 0):
    """Return noisy projected features `(n, width)`, non-negative like a ReLU's, and targets."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % n_classes
    centres = torch.randn(n_classes, width, dtype=torch.float64, generator=generator)
    noise = torch.randn(n, width, dtype=torch.float64, generator=generator)
    return torch.relu(0.5 * centres[targets] + noise), targets


def solved(h, targets, n_classes):
    moments = RidgeMoments.empty(h.shape[1])
    moments.add(h, targets, n_classes)
    return moments.solve(torch.bincount(targets, minlength=n_classes).double())


def refit(h, targets, n_classes, ridge):
    y = torch.nn.functional.one_hot(targets, n_classes).double()
    return torch.linalg.solve(h.T @ h + ridge * torch.eye(h.shape[1]), h.T @ y)


def learned(backbone, config, *tasks) -> RanPAC:
    strategy = RanPAC(backbone, config)
    for task in tasks:
        strategy.learn(task)
    return strategy


@pytest.mark.parametrize(("n", "width"), [(200, 30), (40, 60)])
def test_lambda_is_the_one_that_gcv_over_the_data_picks(n, width):
    h, targets = made_up(n, width, 4)
    y = torch.nn.functional.one_hot(targets, 4).double()

    solution = solved(h, targets, 4)

    scores = []
    for ridge in RIDGES:
        hat = h @ torch.linalg.inv(h.T @ h + ridge * torch.eye(width)) @ h.T
        residual = (y - hat @ y).square().sum()
        scores.append(float(n * residual / (n - hat.trace()) ** 2))
    best = min(range(len(scores)), key=scores.__getitem__)
    assert 0 < best < len(RIDGES) - 1
    assert solution.ridge == RIDGES[best]
    assert solution.error == pytest.approx((scores[best] / 4) ** 0.5)
    assert torch.allclose(solution.weight, refit(h, targets, 4, solution.ridge), atol=1e-9)


def test_the_error_is_what_unseen_images_show():
    h, targets = made_up(3000, 40, 5)

    solution = solved(h[:1500], targets[:1500], 5)

    y = torch.nn.functional.one_hot(targets[1500:], 5).double()
    found = (h[1500:] @ solution.weight - y).square().mean().sqrt()
    assert solution.error == pytest.approx(float(found), rel=0.05)


@pytest.mark.parametrize(("n", "width"), [(60, 20), (20, 60)])
def test_leaving_one_out_equals_solving_without_it(n, width):
    h, targets = made_up(n, width, 3)
    solution = solved(h, targets, 3)

    errors_left_out = solution.leave_one_out(h, targets)

    for i in (0, 7, n - 1):
        others = torch.arange(n) != i
        weight = refit(h[others], targets[others], 3, solution.ridge)
        assert torch.allclose(errors_left_out[i], h[i] @ weight, atol=1e-9)


def test_moments_do_not_depend_on_the_order_or_the_cut_into_tasks():
    h, targets = made_up(90, 20, 3)
    once, parts = RidgeMoments.empty(20), RidgeMoments.empty(20)
    counts = torch.bincount(targets).double()

    once.add(h, targets, 3)
    for rows in (targets == 0, targets == 2, targets == 1):
        parts.add(
            h[rows], targets[rows], int(targets[rows].max()) + 1 if parts.cross.numel() == 0 else 3
        )

    assert torch.allclose(parts.gram, once.gram, rtol=1e-12)
    assert torch.allclose(parts.cross, once.cross, rtol=1e-12)
    assert torch.allclose(parts.solve(counts).weight, once.solve(counts).weight, atol=1e-9)


def test_tasks_one_by_one_equal_all_at_once(backbone, make_task):
    # 64 images a task: the backbone's own batches, so that features agree to the bit.
    parts = [("a", "b"), ("c", "d"), ("a", "e")]
    tasks = [make_task(i, labels, n=32) for i, labels in enumerate(parts, start=1)]
    images = torch.cat([task.images for task in tasks])
    at_once = make_task(1, ("a",))
    at_once = type(at_once)(1, images, sum((task.labels for task in tasks), ()), seed=7)

    split = learned(backbone, NO_ADAPTER, *tasks)
    whole = learned(backbone, NO_ADAPTER, at_once)

    assert split.classes_ == whole.classes_ == ("a", "b", "c", "d", "e")
    assert torch.allclose(split.moments.gram, whole.moments.gram, rtol=1e-12)
    assert torch.allclose(split.weight, whole.weight, rtol=1e-9, atol=1e-9)


def test_later_tasks_in_another_order_give_the_same_scores(backbone, make_task):
    config = RanPACConfig(epochs=2, bottleneck=8, projection_width=48)
    first, second, third = (make_task(i, (f"x{i}", f"y{i}"), n=32) for i in (1, 2, 3))
    images = torch.cat([task.held_out_images for task in (first, second, third)])

    one = learned(backbone, config, first, second, third)
    other = learned(backbone, config, first, third, second)

    columns = [other.classes_.index(label) for label in one.classes_]
    assert torch.allclose(
        other.predict_logits(images)[:, columns], one.predict_logits(images), atol=1e-5
    )


def test_the_adapter_learns_the_first_task_and_nothing_after(backbone, make_task):
    config = RanPACConfig(epochs=2, bottleneck=8, projection_width=48)
    strategy = learned(backbone, config, make_task(4, ("a", "b")))
    before = {k: v.clone() for k, v in strategy.state_dict().items() if k.startswith("tasks.")}
    adapted = strategy.predict_logits(make_task(1, ("a",)).images)

    report = strategy.learn(make_task(5, ("c", "d")))

    after = {k: v for k, v in strategy.state_dict().items() if k.startswith("tasks.")}
    assert report.details["loss"] is None
    assert {key.split(".")[1] for key in after} == {"4"}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    plain = learned(backbone, NO_ADAPTER, make_task(4, ("a", "b")))
    assert not torch.allclose(plain.predict_logits(make_task(1, ("a",)).images), adapted, atol=1e-3)


def test_the_projection_comes_from_its_seed_alone(backbone, make_task):
    task = make_task(1, ("a", "b"))
    first = learned(backbone, NO_ADAPTER, task)
    torch.rand(1)
    again = learned(backbone, NO_ADAPTER, make_task(2, ("c", "d")))
    other = learned(
        backbone, RanPACConfig(adapt="none", projection_width=48, projection_seed=1), task
    )

    assert torch.equal(first.projection, again.projection)
    assert not torch.equal(first.projection, other.projection)


def test_the_adapter_is_the_one_artsy_trains_first(backbone, make_task):
    task = make_task(1, ("a", "b"))
    strategy = learned(backbone, RanPACConfig(epochs=2, bottleneck=8, projection_width=48), task)
    artsy = ArtsyGaussian(backbone, ArtsyGaussianConfig(epochs=2, bottleneck=8))
    artsy.learn(task)

    found, expected = strategy.state_dict(), artsy.state_dict()

    keys = [key for key in found if ".adapter." in key]
    assert keys
    assert all(torch.equal(found[key], expected[key]) for key in keys)


def test_logits_are_scores_in_units_of_their_error(backbone, make_task):
    strategy = learned(backbone, NO_ADAPTER, make_task(1, ("a", "b")), make_task(2, ("c", "d")))
    images = make_task(1, ("a",)).held_out_images
    solution = strategy.moments.solve(strategy.statistics.counts)

    h = torch.relu(backbone.embed(images).double() @ strategy.projection.double())

    expected = (h @ solution.weight / solution.error).float()
    assert torch.allclose(strategy.predict_logits(images), expected, atol=1e-5)


def test_tells_new_from_known_and_knows_its_classes(backbone, make_task):
    tasks = [make_task(1, ("a", "b")), make_task(2, ("c", "d"))]
    strategy = learned(backbone, NO_ADAPTER, *tasks)
    known = torch.cat([task.held_out_images for task in tasks])
    labels = sum((task.held_out_labels for task in tasks), ())

    found, strange = strategy.predict(known), strategy.predict(255 - make_task(3, ("q",)).images)

    assert (found.probabilities.argmax(dim=1) == strategy.targets(labels)).float().mean() > 0.9
    assert strange.novelty.min() > found.novelty.median()


@pytest.mark.parametrize(
    "wrong",
    [
        {"projection_width": 0},
        {"projection_width": 20_000},
        {"projection_seed": -1},
        {"adapt": "every_task"},
        {"epochs": 0},
    ],
)
def test_refuses_hyperparameters_out_of_range(wrong):
    with pytest.raises(ConfigError):
        RanPACConfig(**wrong)
