import pytest
import torch

from models.adapter import Adapter
from models.consolidation import consolidated, undone


def drawn(seed: int) -> Adapter:
    adapter = Adapter(width=6, depth=2, bottleneck=3)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(generator=generator)
    return adapter


def weights(adapter: Adapter) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in adapter.parameters()])


def test_is_the_mean_of_all_that_moved_it():
    all_of_them = [drawn(seed) for seed in range(4)]
    before = [weights(own).clone() for own in all_of_them]

    functional = None
    for n_before, own in enumerate(all_of_them):
        functional = consolidated(functional, own, n_before=n_before)

    assert torch.allclose(weights(functional), torch.stack(before).mean(dim=0), atol=1e-6)
    assert not any(parameter.requires_grad for parameter in functional.parameters())
    assert all(torch.equal(weights(own), old) for own, old in zip(all_of_them, before, strict=True))


def test_counts_tasks():
    first, second = drawn(1), drawn(2)

    moved = consolidated(first, second, n_before=1, n_new=3)

    assert torch.allclose(weights(moved), 0.25 * weights(first) + 0.75 * weights(second))


@pytest.mark.parametrize("n_new", [1, 4])
@pytest.mark.parametrize("n_before", [1, 2, 9])
def test_goes_back_to_where_it_was(n_before, n_new):
    functional, own = drawn(1), drawn(2)

    moved = consolidated(functional, own, n_before=n_before, n_new=n_new)
    back = undone(moved, own, n_before=n_before, n_new=n_new)

    assert not torch.allclose(weights(moved), weights(functional), atol=1e-3)
    assert torch.allclose(weights(back), weights(functional), atol=1e-5)
