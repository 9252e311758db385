import pytest

from models.backbone import load_backbone
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
    ("share", "first"), [(0.5, 2), (0.6, 1), (0.25, 3), (1, 0), (0.001, 3), (0, 2)]
)
def test_the_last_blocks_are_trained_and_always_one(share, first):
    bundled = load_backbone("bundled", with_background=False)

    assert ArtsyConfig(trained_share=share).first_trained(bundled) == first


def test_of_other_backbones_all_blocks_are_trained(backbone):
    assert ArtsyConfig().first_trained(backbone) == 0
    assert ArtsyConfig(trained_share=0.5).first_trained(backbone) == 1


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
        {"patch_share": 0.0},
        {"patch_share": 1.1},
        {"trained_share": -0.1},
        {"trained_share": 1.1},
    ],
)
def test_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ConfigError):
        ArtsyConfig(**wrong)
