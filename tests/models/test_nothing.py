from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from models.backbone import BUNDLED, Pooling, load_backbone
from models.background import add_nothing
from models.background_files import SUFFIX
from models.nothing import (
    embed_nothing,
    features_of_nothing,
    pictures_of_nothing,
    preprocessed,
)

OLD = Path(__file__).parent / "old_backgrounds"
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


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


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_bundled_background_holds_what_a_pass_over_them_would_give(pooling):
    """Whoever draws other pictures has to add their features to the file: `benchmarks.background --add-nothing`."""
    bundled = load_backbone(BUNDLED)
    assert bundled.background is not None
    assert bundled.background.nothing is not None

    features = features_of_nothing(bundled, pooling)

    assert features.dtype == torch.float16
    torch.testing.assert_close(
        features.float(), embed_nothing(bundled, pooling), rtol=1e-3, atol=2e-3
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_pass_gives_them_where_no_background_does(backbone, pooling):
    of_before = load_backbone("tiny", weights=OLD)
    assert of_before.background is not None
    assert of_before.background.nothing is None

    for without in (backbone, of_before):
        features = features_of_nothing(without, pooling)
        assert torch.equal(features, embed_nothing(backbone, pooling))


def test_those_of_the_background_are_taken_without_a_pass(backbone, tmp_path):
    stored = torch.arange(3.0)[:, None] + torch.arange(64) / 64
    data = (OLD / f"tiny{SUFFIX}").read_bytes()
    (tmp_path / f"tiny{SUFFIX}").write_bytes(add_nothing(data, stored))
    loaded = load_backbone("tiny", weights=tmp_path)

    assert torch.equal(features_of_nothing(loaded, "token_and_patches"), stored.half())
    assert torch.equal(features_of_nothing(loaded, "backbone"), stored[:, :32].half())
