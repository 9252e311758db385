"""Learners for tests of what worker code does with them, without a database."""

import torch

from models import artifact
from models.strategies.values import Task
from tests.factories import make_pixels

N = 12
"""Images of a class."""


def task_of(backbone, index, *labels):
    """Return a task of some classes."""
    pixels = [make_pixels(label, i) for label in labels for i in range(N)]
    images = torch.stack([backbone.preprocess(image) for image in pixels])
    return Task(index, images, tuple(label for label in labels for _ in range(N)), seed=3)


def packed(strategy):
    """Return the artifact of a learner."""
    return artifact.pack(strategy, seed=0, code_versions={})


def put(blobs, strategy):
    """Keep a learner, and return the address of its manifest."""
    made = packed(strategy)
    *_, address = blobs.put_many([*made.files.values(), made.manifest])
    return address
