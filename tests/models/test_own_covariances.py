import pytest
import torch

from models import own_covariances
from models.own_covariances import OwnCovariances
from models.shown import FeatureRecords, Shown

WIDTH = 10


def seen(counts, seed: int = 0) -> Shown:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    scales = 0.3 + 2 * torch.rand(len(counts), WIDTH, generator=generator)
    features = torch.randn(len(targets), WIDTH, generator=generator) * scales[targets]
    features += 2 * torch.randn(len(counts), WIDTH, generator=generator)[targets]
    records = FeatureRecords.of(features, targets, len(counts), seed=0)
    return Shown.merged([(1, torch.arange(len(counts)), records, None)], len(counts), WIDTH)


def asked(shown: Shown, prior: float, x: torch.Tensor) -> torch.Tensor:
    """In a space that is whitened as it is."""
    own = OwnCovariances(shown, torch.zeros(WIDTH), lambda rows: rows, prior=prior)
    return own.logits(x, -0.5 * torch.cdist(x, shown.means.float()).square())


def by_hand(shown: Shown, x: torch.Tensor, prior: float) -> torch.Tensor:
    columns = []
    for k, mean in enumerate(shown.means):
        mine = shown.rows[shown.targets == k]
        share = len(mine) / (len(mine) + prior * WIDTH)
        own = (1 - share) * torch.eye(WIDTH, dtype=torch.float64) + share * torch.cov(mine.T)
        gaps = x.double() - mean
        distances = (gaps @ torch.linalg.inv(own) * gaps).sum(dim=1)
        columns.append(-0.5 * (distances + torch.logdet(own)))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("prior", [0.5, 4.0])
@pytest.mark.parametrize("counts", [[5, 8, 6], [40, 60, 50]])
def test_the_low_rank_form_is_the_gaussian_of_the_whole_covariance(counts, prior):
    shown = seen(counts)
    x = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(1))

    found = asked(shown, prior, x)

    assert torch.allclose(found.double(), by_hand(shown, x, prior), rtol=5e-3, atol=5e-2)


def test_directions_that_are_left_out_keep_their_share_of_the_variance(monkeypatch):
    monkeypatch.setattr(own_covariances, "MOST_DIRECTIONS", 3)
    shown = seen([40, 50, 60])
    x = torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(1)) * 2

    found = asked(shown, 0.5, x)

    expected = by_hand(shown, x, 0.5)
    agree = (found.argmax(dim=1) == expected.argmax(dim=1)).double().mean()
    assert agree > 0.7


@pytest.mark.parametrize("way", [0, 16])
def test_among_many_classes_the_most_likely_are_told_apart_as_among_few(monkeypatch, way):
    shown = seen([20] * 12)
    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1)) * 2
    whole = asked(shown, 1.0, x)
    monkeypatch.setattr(own_covariances, "MOST_LIKELY", 5)
    monkeypatch.setattr(own_covariances, "_MOST_NUMBERS", 1)
    monkeypatch.setattr(own_covariances, "_PRODUCT", way)

    found = asked(shown, 1.0, x)

    shared = -torch.cdist(x, shown.means.float())
    top = shared.topk(5, dim=1).indices
    assert torch.allclose(found.gather(1, top), whole.gather(1, top), atol=1e-3)
    # The others stay behind them.
    rest = torch.ones_like(found).scatter(1, top, 0).bool()
    lowest = found.gather(1, top).amin(dim=1)
    assert (found.masked_fill(~rest, -torch.inf).amax(dim=1) <= lowest + 1e-4).all()


def test_are_tried_only_where_there_are_images():
    assert OwnCovariances.pay(seen([20, 20, 3]))
    assert OwnCovariances.pay(seen([8, 8]))
    assert not OwnCovariances.pay(seen([20, 3, 3]))
    assert not OwnCovariances.pay(seen([200]))
