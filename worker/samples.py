"""From sample rows to tensors."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.backbone import Backbone
from registry.blobs.store import BlobStore
from registry.errors import BlobDamagedError, BlobMissingError
from registry.tables import SampleRow
from worker.errors import PermanentTaskError

DECODE_THREADS = min(4, os.cpu_count() or 1)


def load_images(
    rows: Sequence[SampleRow],
    blobs: BlobStore,
    backbone: Backbone,
    on_fraction: Callable[[float], None],
) -> Tensor:
    """Read, decode and preprocess the images of some samples, in order.

    Holds all of them in memory: `3 S^2` bytes an image.

    Args:
        rows: N samples.
        blobs: Where their images lie.
        backbone: Says how an image becomes its input, with side S.
        on_fraction: Called with the share done after each image.

    Returns:
        uint8 `(N, 3, S, S)`.

    Raises:
        PermanentTaskError: `data-unreadable`, if an image is missing or damaged.
    """
    images = torch.empty(
        (len(rows), 3, backbone.image_size, backbone.image_size), dtype=torch.uint8
    )
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        decoded = pool.map(lambda row: backbone.preprocess(read_pixels(row, blobs)), rows)
        for i, image in enumerate(decoded):
            images[i] = image
            on_fraction((i + 1) / len(rows))
    return images


def read_pixels(row: SampleRow, blobs: BlobStore) -> NDArray[np.uint8]:
    """Return the canonical image of a sample: upright RGB, uint8 `(height, width, 3)`.

    Raises:
        PermanentTaskError: `data-unreadable`, if it is missing or damaged.
    """
    try:
        # The service has decoded and re-encoded it: always PNG, always RGB.
        with Image.open(io.BytesIO(blobs.get(row.blob_sha256)), formats=("PNG",)) as image:
            return np.asarray(image.convert("RGB"))
    except (BlobMissingError, BlobDamagedError, OSError, SyntaxError, ValueError) as error:
        raise PermanentTaskError(
            "data-unreadable",
            f"The stored image of sample {row.id} is missing or damaged; send the task's images again.",
        ) from error
