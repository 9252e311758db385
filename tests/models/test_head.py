import torch

from models.head import CosineHead, GaussianHead, cosine_scores, cross_validated_distances
from models.statistics import ClassStatistics


def test_distances_equal_the_definition():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, dtype=torch.float64, generator=generator)
    y = torch.arange(300) % 3
    statistics = ClassStatistics.of(x, y, 3)
    head = GaussianHead(statistics, shrinkage=0.2)

    found = head.squared_distances(x[:5])

    covariance = statistics.covariance
    shrunk = 0.8 * covariance + 0.2 * covariance.trace() / 4 * torch.eye(4)
    inverse = torch.linalg.inv(shrunk)
    gap = x[:5, None] - statistics.means
    expected = torch.einsum("bkd,de,bke->bk", gap, inverse, gap)
    assert torch.allclose(found.double(), expected, atol=1e-3)


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

    distances, targets = cross_validated_distances(
        ClassStatistics.empty(3), x, y, shrinkage=0.3, folds=4
    )

    # Class 2 has no other image to be known by; the first fold holds the first image of classes 0 and 1.
    assert targets.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    others = torch.tensor([1, 2, 3, 5, 6, 7])
    rest = ClassStatistics.of(x[others], y[others], 3)
    expected = GaussianHead(rest, shrinkage=0.3).squared_distances(x[[0, 4]])
    assert torch.allclose(distances[:2], expected)


def test_cross_validation_shows_the_heads_optimism():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 60, generator=generator)
    y = torch.arange(40) % 2

    fitted = GaussianHead(ClassStatistics.of(x, y, 2), shrinkage=0.1).squared_distances(x)
    crossed, _ = cross_validated_distances(ClassStatistics.empty(60), x, y, shrinkage=0.1)

    assert crossed.amin(dim=1).mean() > 2 * fitted.amin(dim=1).mean()
