from collections.abc import Mapping

import pytest
import torch
from torch.nn import functional as F

from models.dataset import augment, training_batches
from models.errors import DivergedError
from models.fitting import Schedule, derive_seed, fit, seeded

CPU = torch.device("cpu")


def regression(learning_rate: float) -> tuple[float, list[float]]:
    weight = torch.nn.Parameter(torch.zeros(1))
    losses: list[float] = []

    def loss_fn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(x @ weight, y.float())

    x = torch.ones(20, 1)
    loss = fit(
        [weight],
        x,
        torch.full((20,), 3),
        loss_fn,
        Schedule(epochs=30, batch_size=4, learning_rate=learning_rate, weight_decay=0),
        seed=0,
        device=CPU,
        on_progress=lambda progress: losses.append(progress.fraction),
    )
    assert float(weight.detach()) == pytest.approx(3, abs=0.05)
    return loss, losses


def test_minimises_the_loss_and_reports_every_step():
    loss, fractions = regression(0.05)

    assert loss < 0.01
    assert len(fractions) == 30 * 5
    assert fractions[-1] == 1.0


class Watching:
    """A rule that halves the gradient and writes down what it sees."""

    def __init__(self, weight: torch.nn.Parameter) -> None:
        self.weight = weight
        self.before: list[float] = []
        self.moves: list[float] = []

    def before_step(self) -> None:
        self.weight.grad.mul_(0.5)
        self.before.append(float(self.weight.detach()))

    def after_step(self) -> None:
        self.moves.append(float(self.weight.detach()) - self.before[-1])

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        pass


def test_a_rule_acts_between_gradient_and_step_and_sees_the_move():
    weight = torch.nn.Parameter(torch.zeros(1))
    rule = Watching(weight)

    fit(
        [weight],
        torch.ones(6, 1),
        torch.zeros(6, dtype=torch.int64),
        lambda x, y: (x @ weight).mean(),  # gradient 1, halved
        Schedule(
            epochs=1, batch_size=2, learning_rate=0.1, weight_decay=0, momentum=0, decay="none"
        ),
        seed=0,
        device=CPU,
        rule=rule,
    )

    assert rule.moves == pytest.approx([-0.05] * 3)
    assert float(weight.detach()) == pytest.approx(-0.15)


def test_adam_takes_steps_of_the_learning_rate():
    weight = torch.nn.Parameter(torch.zeros(1))

    fit(
        [weight],
        torch.ones(4, 1),
        torch.zeros(4, dtype=torch.int64),
        lambda x, y: 1000 * (x @ weight).mean(),
        Schedule(
            epochs=1,
            batch_size=2,
            learning_rate=0.1,
            weight_decay=0,
            optimizer="adam",
            decay="none",
        ),
        seed=0,
        device=CPU,
    )

    assert float(weight.detach()) == pytest.approx(-0.2)


def test_a_loss_that_is_not_finite_stops_the_training():
    weight = torch.nn.Parameter(torch.ones(1))

    with pytest.raises(DivergedError, match="epoch 1"):
        fit(
            [weight],
            torch.ones(4, 1),
            torch.ones(4, dtype=torch.int64),
            lambda x, y: (x @ weight).sum() * float("nan"),
            Schedule(epochs=1, batch_size=2, learning_rate=1),
            seed=0,
            device=CPU,
        )


def test_every_image_comes_once_an_epoch_and_no_batch_has_one_image():
    images = torch.arange(17 * 3 * 4, dtype=torch.uint8).reshape(17, 3, 2, 2)
    batches = list(
        training_batches(
            images,
            torch.arange(17),
            order=torch.randperm(17, generator=torch.Generator().manual_seed(0)),
            batch_size=8,
            augmentation="none",
            generator=torch.Generator().manual_seed(0),
            device=CPU,
        )
    )

    assert [len(targets) for _, targets in batches] == [8, 9]
    seen = torch.cat([targets for _, targets in batches])
    assert sorted(seen.tolist()) == list(range(17))
    assert torch.allclose(torch.cat([x for x, _ in batches]), images[seen] / 255)


@pytest.mark.parametrize("augmentation", ["crop", "crop_flip"])
def test_augmentation_keeps_shape_and_range_and_obeys_its_generator(augmentation):
    images = torch.rand(6, 3, 16, 16)

    def once(seed: int) -> torch.Tensor:
        return augment(images, augmentation, torch.Generator().manual_seed(seed))

    found = once(1)
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, once(1))
    assert not torch.equal(found, once(2))


def test_a_crop_of_the_whole_area_can_only_mirror():
    images = torch.rand(8, 3, 16, 16)
    generator = torch.Generator().manual_seed(0)

    augmented = augment(images, "crop_flip", generator, scale=(1.0, 1.0))

    # The aspect ratio still varies, so compare the image's mean colour, and that both orientations occur.
    straight = (augmented - images).square().mean(dim=(1, 2, 3))
    mirrored = (augmented - images.flip(-1)).square().mean(dim=(1, 2, 3))
    assert (straight < mirrored).any()
    assert (mirrored < straight).any()


def test_seeds_of_neighbours_differ_and_the_block_restores_the_generator():
    assert len({derive_seed(0, t) for t in range(100)}) == 100
    before = torch.get_rng_state()
    with seeded(5):
        first = torch.rand(3)
    with seeded(5):
        second = torch.rand(3)

    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
