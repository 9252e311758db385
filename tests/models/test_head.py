import torch

from models.head import CosineHead, GaussianHead, cosine_scores
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
