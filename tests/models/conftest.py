"""Fixtures of the learning core: the tiny backbone, and small tasks of coloured noise."""

from collections.abc import Callable

import pytest
import torch

from models.backbone import Backbone, load_backbone
from models.strategies.values import Task

MakeTask = Callable[..., Task]


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture
def make_task(backbone: Backbone) -> MakeTask:
    """Return a function that makes a task whose classes differ in their mean colour."""

    def make(index: int, labels: tuple[str, ...], *, n: int = 12, n_held_out: int = 6) -> Task:
        size = backbone.image_size
        images, names, held_out, held_out_names = [], [], [], []
        for label in labels:
            generator = torch.Generator().manual_seed(sum(map(ord, label)))
            colour = torch.randint(30, 225, (1, 3, 1, 1), generator=generator)
            noise = torch.randint(-25, 26, (n + n_held_out, 3, size, size), generator=generator)
            pixels = (colour + noise).clamp(0, 255).to(torch.uint8)
            images.append(pixels[:n])
            held_out.append(pixels[n:])
            names += [label] * n
            held_out_names += [label] * n_held_out
        return Task(
            index=index,
            images=torch.cat(images),
            labels=tuple(names),
            held_out_images=torch.cat(held_out),
            held_out_labels=tuple(held_out_names),
            seed=7,
        )

    return make
