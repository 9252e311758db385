import pytest
import torch

from models.errors import CheckpointError
from models.kept_images import KeptImages
from models.ledger import Ledger


def images(n: int, value: int) -> torch.Tensor:
    return torch.full((n, 3, 4, 4), value, dtype=torch.uint8)


@pytest.fixture
def kept() -> KeptImages:
    kept = KeptImages()
    kept.add(2, images(3, 20), torch.tensor([0, 1, 1]))
    kept.add(5, images(1, 50), torch.tensor([0]))
    return kept


def test_returns_everything_in_the_order_of_the_tasks(kept):
    found, targets = kept.all()

    assert found[:, 0, 0, 0].tolist() == [20, 20, 20, 50]
    assert targets.tolist() == [0, 1, 1, 0]
    assert len(kept) == 4


def test_comes_back_from_its_state_task_by_task(kept):
    state = kept.state_dict()

    loaded = KeptImages.from_state(state, (2, 5))

    assert set(state) == {"tasks.2.images", "targets.2", "tasks.5.images", "targets.5"}
    for expected, found in zip(kept.all(), loaded.all(), strict=True):
        assert torch.equal(found, expected)


def test_drops_a_class_from_every_task_and_numbers_the_rest_anew(kept):
    ledger = Ledger().with_task(2, torch.tensor([0, 1, 1])).with_task(5, torch.tensor([0]))

    kept.drop(ledger.without(targets=[0]))

    found, targets = kept.all()
    assert found[:, 0, 0, 0].tolist() == [20, 20]
    assert targets.tolist() == [0, 0]
    assert len(kept) == 2


@pytest.mark.parametrize(
    "damage",
    [
        {"tasks.5.images": None},
        {"targets.5": None},
        {"targets.5": torch.tensor([0, 1])},
        {"tasks.5.images": images(1, 50).float()},
        {"tasks.5.images": images(1, 50)[0]},
    ],
)
def test_refuses_a_state_that_does_not_fit(kept, damage):
    state = {**kept.state_dict(), **damage}

    with pytest.raises(CheckpointError, match="task 5"):
        KeptImages.from_state({k: v for k, v in state.items() if v is not None}, (2, 5))
