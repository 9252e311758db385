import pytest

from models.errors import ConfigError
from models.strategies.artsy.config import ArtsyConfig


@pytest.mark.parametrize("n_images", [2, 16, 17, 100, 399])
def test_few_images_are_passed_over_until_the_steps_suffice(n_images):
    epochs = ArtsyConfig().schedule(n_images).epochs
    steps_an_epoch = -(-n_images // 16)

    assert (epochs - 1) * steps_an_epoch < 200 <= epochs * steps_an_epoch


def test_many_images_are_passed_over_as_often_as_told():
    assert ArtsyConfig().schedule(400).epochs == 8
    assert ArtsyConfig().schedule(10_000).epochs == 8
    assert ArtsyConfig(epochs=2, least_steps=0).schedule(5).epochs == 2


@pytest.mark.parametrize(
    ("share", "depth", "first"), [(0.5, 4, 2), (0.5, 12, 6), (0.5, 3, 1), (1, 4, 0), (0.001, 4, 3)]
)
def test_the_last_blocks_are_trained_and_always_one(share, depth, first):
    assert ArtsyConfig(trained_share=share).first_trained(depth) == first


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"threshold": 1.5},
        {"novelty_false_alarms": -0.1},
        {"max_routed": -1},
        {"least_steps": -1},
        {"views": -1},
        {"trained_share": 0.0},
        {"trained_share": 1.1},
    ],
)
def test_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ConfigError):
        ArtsyConfig(**wrong)
