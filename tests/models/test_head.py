import torch

from models.head import CosineHead, GaussianHead, cosine_scores, cross_validate
from models.statistics import ClassGaussians, ClassStatistics


def test_distances_equal_the_definition():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, dtype=torch.float64, generator=generator)
    y = torch.arange(300) % 3
    statistics = ClassStatistics.of(x, y, 3)
    head = GaussianHead(statistics, shrinkage=0.2)

    distances = head.squared_distances(x[:5])

    covariance = statistics.covariance
    shrunk = 0.8 * covariance + 0.2 * covariance.trace() / 4 * torch.eye(4)
    inverse = torch.linalg.inv(shrunk)
    gap = x[:5, None] - statistics.means
    expected = torch.einsum("bkd,de,bke->bk", gap, inverse, gap)
    assert torch.allclose(distances.double(), expected, atol=1e-3)


def test_a_class_without_images_is_never_answered():
    statistics = ClassStatistics.of(torch.randn(6, 4), torch.zeros(6, dtype=torch.int64), 2)

    head = GaussianHead(statistics, shrinkage=0.5)

    assert (head.logits(torch.randn(3, 4))[:, 1] == -torch.inf).all()


def test_fewer_images_than_dimensions_stay_finite():
    statistics = ClassStatistics.of(torch.randn(4, 64), torch.tensor([0, 0, 1, 1]), 2)

    assert GaussianHead(statistics, shrinkage=0.1).logits(torch.randn(2, 64)).isfinite().all()


def test_one_image_a_class_stays_finite():
    statistics = ClassStatistics.of(torch.randn(2, 8), torch.tensor([0, 1]), 2)

    assert GaussianHead(statistics, shrinkage=0.1).logits(torch.randn(2, 8)).isfinite().all()


def test_the_cosine_head_is_a_scaled_cosine_with_gradients():
    head = CosineHead(4, 3, scale=10.0)
    x = torch.randn(2, 4)

    logits = head(x)
    logits.sum().backward()

    assert torch.allclose(logits, 10 * cosine_scores(x, head.weight))
    assert head.weight.grad is not None
    assert head.scale.grad is not None


def test_cross_validation_scores_an_image_by_the_others_only():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 3, dtype=torch.float64, generator=generator)
    y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])

    crossed = cross_validate(ClassStatistics.empty(3), x, y, shrinkage=0.3, folds=4)

    # Class 2 has no other image to be known by; the first fold holds the first image of classes 0 and 1.
    assert crossed.targets.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    others = torch.tensor([1, 2, 3, 5, 6, 7])
    rest = ClassStatistics.of(x[others], y[others], 3)
    expected = GaussianHead(rest, shrinkage=0.3).squared_distances(x[[0, 4]])
    assert torch.allclose(crossed.squared_distances[:2], expected)
    assert torch.equal(crossed.logits, -0.5 * crossed.squared_distances)


def test_cross_validation_shows_the_heads_optimism():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 60, generator=generator)
    y = torch.arange(40) % 2

    fitted = GaussianHead(ClassStatistics.of(x, y, 2), shrinkage=0.1).squared_distances(x)
    crossed = cross_validate(ClassStatistics.empty(60), x, y, shrinkage=0.1)

    assert crossed.squared_distances.amin(dim=1).mean() > 2 * fitted.amin(dim=1).mean()


def test_all_views_of_an_image_are_left_out_together():
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(7, dtype=torch.int64)
    empty = ClassStatistics.empty(3)

    seen_once = cross_validate(empty, x, y, shrinkage=0.3)
    seen_twice = cross_validate(empty, x.repeat(2, 1), y.repeat(2), shrinkage=0.3, views=2)

    # Were a copy left in, each image would lie closer to the mean that it helped to make.
    assert len(seen_twice.targets) == 14
    once, twice = (c.squared_distances.sort(dim=0).values for c in (seen_once, seen_twice))
    # The same scatter, counted with 2 n - 1 instead of 2 (n - 1) degrees of freedom.
    assert torch.all(twice[::2] >= once)


def test_each_class_is_measured_by_its_own_covariance_as_far_as_its_images_tell():
    generator = torch.Generator().manual_seed(0)
    wide, narrow = torch.tensor([3.0, 0.5, 1.0]), torch.tensor([0.5, 3.0, 1.0])
    x = torch.cat([torch.randn(90, 3, generator=generator) * s for s in (wide, narrow)]).double()
    y = torch.arange(180) // 90
    gaussians = ClassGaussians.empty(3)
    gaussians.add(x, y, 2)

    head = GaussianHead(gaussians, shrinkage=0.2, prior=10.0)

    pooled = gaussians.covariance
    pooled = 0.8 * pooled + 0.2 * pooled.trace() / 3 * torch.eye(3)
    own = [torch.cov(x[y == k].T) for k in (0, 1)]
    mixed = [pooled + 90 / (90 + 10 * 3) * (c - pooled) for c in own]
    for k, covariance in enumerate(mixed):
        gap = x[:9] - gaussians.means[k]
        expected = torch.einsum("bd,de,be->b", gap, torch.linalg.inv(covariance), gap)
        assert torch.allclose(head.squared_distances(x[:9])[:, k].double(), expected, rtol=1e-3)
    expected = [
        torch.distributions.MultivariateNormal(mean, covariance).log_prob(x[:9])
        for mean, covariance in zip(gaussians.means, mixed, strict=True)
    ]
    logits = head.logits(x[:9]).double()
    assert torch.allclose(logits[:, 0] - logits[:, 1], expected[0] - expected[1], atol=1e-3)
    # What the classes differ by is their shape alone: linear discriminant analysis sees next to nothing.
    linear = GaussianHead(gaussians, shrinkage=0.2)
    accuracy = [(h.logits(x).argmax(dim=1) == y).double().mean() for h in (head, linear)]
    assert accuracy[0] > accuracy[1] + 0.2


def test_one_image_a_class_has_no_covariance_of_its_own():
    gaussians = ClassGaussians.empty(8)
    gaussians.add(torch.randn(2, 8), torch.tensor([0, 1]), 3)

    head = GaussianHead(gaussians, shrinkage=0.1, prior=1.0)

    logits = head.logits(torch.randn(2, 8))
    assert logits[:, :2].isfinite().all()
    assert (logits[:, 2] == -torch.inf).all()
