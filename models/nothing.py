"""Pictures of nothing: plain colours, noise and ramps, drawn here. No class may claim what looks like them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbone import Backbone, Pooling

SIDE = 64
"""Of plain colours and ramps, in pixels; they are the same at every size."""
COLOURS = (
    (255, 255, 255), (192, 192, 192), (128, 128, 128), (64, 64, 64), (0, 0, 0), (220, 40, 40), (230, 200, 40),
    (40, 180, 60), (60, 190, 200), (40, 70, 200), (200, 60, 180),
)  # fmt: skip
RAMPS = ((1.0, 1.0, 1.0), (1.0, 0.6, 0.3), (0.3, 0.6, 1.0))
GRAINS = (1, 2, 4)
"""Side of noise, in sides of the backbone's input: resizing makes it as coarse as photos of noise are."""
CONTRASTS = (1.0, 0.3)


def pictures_of_nothing(image_size: int) -> Iterator[NDArray[np.uint8]]:
    """Draw the pictures: uint8 `(height, width, 3)`, always the same.

    Args:
        image_size: Input side of the backbone, in pixels.
    """
    for colour in COLOURS:
        yield _picture(np.asarray(colour)[None, None], SIDE)
    generator = np.random.default_rng(0)
    for grain in GRAINS:
        side = grain * image_size
        for channels in (3, 1):
            for contrast in CONTRASTS:
                noise = generator.integers(0, 256, (side, side, channels))
                yield _picture(128 + contrast * (noise - 128), side)
    ramp = np.linspace(0, 255, SIDE)
    for ratio in RAMPS:
        yield _picture(ramp[None, :, None] * np.asarray(ratio), SIDE)
        yield _picture(ramp[:, None, None] * np.asarray(ratio), SIDE)


def preprocessed(backbone: Backbone) -> Tensor:
    """Return the pictures at the size of a backbone, uint8 `(P, 3, S, S)`."""
    return torch.stack(
        [backbone.preprocess(picture) for picture in pictures_of_nothing(backbone.image_size)]
    )


def embed_nothing(backbone: Backbone, pooling: Pooling) -> Tensor:
    """Return the frozen features of the pictures by a pass over them, float32 `(P, D)` or `(P, 2 D)`."""
    return backbone.embed(preprocessed(backbone), pooling=pooling)


def features_of_nothing(backbone: Backbone, pooling: Pooling) -> Tensor:
    """Return the frozen features of the pictures, `(P, D)` or `(P, 2 D)` as `pooling` says.

    They are the background's, float16, which costs nothing; without a background, or with one of before they were
    added to it, those of a pass.
    """
    if backbone.background is not None:
        stored = backbone.background.for_width(backbone.width_of(pooling)).nothing
        if stored is not None:
            return stored
    return embed_nothing(backbone, pooling)


def _picture(values: NDArray[Any], side: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.broadcast_to(values, (side, side, 3)).clip(0, 255), np.uint8)
