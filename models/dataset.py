"""Batches for training: augmentation on tensors."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Augmentation = Literal["none", "crop", "crop_flip"]


def training_batches(
    images: Tensor,
    targets: Tensor,
    *,
    order: Tensor,
    batch_size: int,
    augmentation: Augmentation,
    generator: torch.Generator,
    device: torch.device,
    n_done: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of augmented batches.

    Takes no more from the generator than the batches it has yielded needed, so an epoch can be left and gone on with.

    Args:
        images: uint8 `(N, 3, H, W)`; or, without augmentation, float features `(N, D)` or numbers of rows `(N,)`,
            passed on as they are.
        targets: int64 `(N,)`.
        order: Permutation of the images, int64 `(N,)`.
        batch_size: Images a batch. A last batch of one image joins the one before it.
        augmentation: See `augment`.
        generator: Source of the augmentation.
        device: Where the batches go.
        n_done: Batches at the beginning of the epoch to leave out.

    Yields:
        Float images in 0..1 `(B, 3, H, W)` and targets `(B,)`.
    """
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    for part in parts[n_done:]:
        batch = images[part]
        pixels = batch / 255 if batch.dtype == torch.uint8 else batch
        yield augment(pixels, augmentation, generator).to(device), targets[part].to(device)


def augment(
    images: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.4, 1.0),
) -> Tensor:
    """Cut a random part of each image and resize it back; `crop_flip` also mirrors half of them.

    Mirroring is left out of `crop`, since text, digits and signs do not survive it.

    Args:
        images: Float `(B, 3, H, W)`.
        augmentation: `none`, `crop` or `crop_flip`.
        generator: Source of all randomness, on the CPU.
        scale: Smallest and largest share of the area that a crop keeps. The papers' 0.05 suits large natural images;
            with the short schedules here it costs accuracy.

    Returns:
        Float `(B, 3, H, W)`, bilinear.
    """
    if augmentation == "none":
        return images
    return cut(images, draw_crops(len(images), augmentation, generator, scale=scale))


def draw_crops(
    n: int,
    augmentation: Augmentation,
    generator: torch.Generator | None,
    *,
    scale: tuple[float, float] = (0.4, 1.0),
) -> Tensor:
    """Draw what `augment` cuts out of n images; from torch's global generator where none is given.

    Returns:
        An affine map from the coordinates of each result to those of its image, both spanning -1..1, `(n, 2, 3)`.
    """
    theta = torch.zeros(n, 2, 3)
    if augmentation == "none":
        theta[:, 0, 0] = theta[:, 1, 1] = 1
        return theta
    area = torch.empty(n).uniform_(*scale, generator=generator)
    ratio = torch.exp(
        torch.empty(n).uniform_(-math.log(4 / 3), math.log(4 / 3), generator=generator)
    )
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    # In grid_sample's coordinates the image spans -1..1: a crop of width w may be centred within +-(1 - w).
    centre_x = (1 - width) * torch.empty(n).uniform_(-1, 1, generator=generator)
    centre_y = (1 - height) * torch.empty(n).uniform_(-1, 1, generator=generator)
    if augmentation == "crop_flip":
        width = width * (torch.randint(0, 2, (n,), generator=generator) * 2 - 1)
    theta[:, 0, 0], theta[:, 0, 2] = width, centre_x
    theta[:, 1, 1], theta[:, 1, 2] = height, centre_y
    return theta


def cut(images: Tensor, crops: Tensor) -> Tensor:
    """Cut what `draw_crops` drew, `(B, 2, 3)`, out of float images `(B, 3, H, W)`; bilinear, of the same size."""
    grid = F.affine_grid(crops, list(images.shape), align_corners=False).to(images.device)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
