import numpy as np
import pytest
import torch

from benchmarks import poisoning
from benchmarks.poisoning import POISONS, Pool, draw, judge_batch

N_CLASSES, N = 12, 130


@pytest.fixture(scope="module")
def pool():
    """Classes far apart, each of different smooth images."""
    generator = torch.Generator().manual_seed(0)
    targets = np.repeat(np.arange(N_CLASSES), N)
    centres = 1.5 * torch.randn(N_CLASSES, 32, generator=generator)
    features = centres[targets] + torch.randn(len(targets), 32, generator=generator)
    coarse = torch.randint(0, 256, (len(targets), 3, 4, 4), generator=generator).float()
    images = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear").to(torch.uint8)
    return Pool(features, images, targets, tuple(f"c{k}" for k in range(N_CLASSES)))


class Embeds:
    """Stands in for the backbone where copies are embedded: they are told by their pixels alone."""

    def embed(self, images):
        return torch.randn(len(images), 32, generator=torch.Generator().manual_seed(1))


def batch(pool, kind=None, seed=0):
    rng = np.random.default_rng(seed)
    drawn = draw(pool, np.arange(5), np.arange(5, 10), 70, rng)
    if kind is not None:
        POISONS[kind](pool, drawn, rng)
    return drawn


def test_an_honest_batch_passes(pool):
    for seed in range(6):
        assert judge_batch(pool, batch(pool, seed=seed), Embeds()) == []


@pytest.mark.parametrize("kind", POISONS)
def test_every_poison_is_one(pool, kind):
    found = [judge_batch(pool, batch(pool, kind, seed), Embeds()) for seed in range(6)]
    assert sum(codes != [] for codes in found) >= 4
    if "copies" in kind:
        assert all("copies" in codes for codes in found)


def test_parts_share_no_image():
    targets = np.repeat(np.arange(3), 10)
    rows = poisoning._after(targets, 7)
    assert rows.tolist() == [7, 8, 9, 17, 18, 19, 27, 28, 29]
