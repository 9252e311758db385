import numpy as np
import pytest
import torch

from models.nothing import pictures_of_nothing, preprocessed


@pytest.mark.parametrize("size", [32, 64, 224])
def test_pictures_are_always_the_same_and_of_every_kind(size):
    one, two = (list(pictures_of_nothing(size)) for _ in range(2))

    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in one)
    deviations = [float(picture.std()) for picture in one]
    assert sum(deviation == 0 for deviation in deviations) >= 3  # plain greys
    assert max(deviations) > 60  # noise
    assert {picture.shape[0] for picture in one} >= {size, 4 * size}


def test_they_fit_the_backbone(backbone):
    images = preprocessed(backbone)

    assert images.dtype == torch.uint8
    assert images.shape[1:] == (3, backbone.image_size, backbone.image_size)
