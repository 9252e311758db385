"""What a user would write: adapters in all blocks, trained with a cosine head, then the nearest class mean.

    python -m benchmarks.learning_speed.plain --classes 10 --images 100

A process of its own, and the settings that `artsy` trains with. Prints one line of JSON.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.learning_speed.pictures import Taught, make_classes, pixels_of
from models.adapter import Adapter
from models.backbone import Backbone, load_backbone
from models.dataset import augment
from models.head import CosineHead

EPOCHS, BATCH, RATE, BOTTLENECK = 8, 16, 0.1, 64
HELD_OUT_SHARE = 0.1
"""What the service keeps out of training; so does this."""


def tensors(
    backbone: Backbone, classes: Sequence[Taught], *, asked: bool = False
) -> tuple[Tensor, Tensor]:
    """Return images, uint8 `(N, 3, S, S)`, and the class of each, int64 `(N,)`."""
    images, targets = [], []
    for k, taught in enumerate(classes):
        n_kept = len(taught.images) - round(HELD_OUT_SHARE * len(taught.images))
        for file in taught.asked if asked else taught.images[:n_kept]:
            images.append(backbone.preprocess(pixels_of(file)))
            targets.append(k)
    return torch.stack(images), torch.tensor(targets)


def train(backbone: Backbone, images: Tensor, targets: Tensor, epochs: int) -> Adapter:
    """Train adapters in all blocks."""
    torch.manual_seed(0)
    adapter = Adapter(width=backbone.feature_width, depth=backbone.depth, bottleneck=BOTTLENECK)
    head = CosineHead(backbone.feature_width, int(targets.max()) + 1)
    parameters = [*adapter.train().parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=5e-4)
    n_steps = epochs * math.ceil(len(images) / BATCH)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH):
            pixels = augment(images[rows] / 255, "crop", torch.default_generator)
            loss = F.cross_entropy(head(backbone(pixels, adapter)), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
    return adapter.freeze()


def accuracy(
    backbone: Backbone, adapter: Adapter, known: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor]
) -> float:
    """Return the share of images whose nearest class mean, by cosine, is their class's."""
    features = F.normalize(backbone.embed(known[0], adapter), dim=1)
    means = torch.stack([features[known[1] == k].mean(dim=0) for k in known[1].unique()])
    answers = (
        F.normalize(backbone.embed(asked[0], adapter), dim=1) @ F.normalize(means, dim=1).T
    ).argmax(dim=1)
    return float((answers == asked[1]).double().mean())


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_speed.plain")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--asked", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cifar100", type=Path)
    given = parser.parse_args(argv)
    backbone = load_backbone(given.backbone, weights=given.weights)
    classes = make_classes(given.classes, given.images, asked=given.asked, cifar100=given.cifar100)
    started = time.perf_counter()
    known = tensors(backbone, classes)
    read_at = time.perf_counter()
    adapter = train(backbone, *known, given.epochs)
    trained_at = time.perf_counter()
    share = accuracy(backbone, adapter, known, tensors(backbone, classes, asked=True))
    line = {
        "training_s": round(trained_at - read_at, 2),
        "all_s": round(time.perf_counter() - started, 2),
        "accuracy": round(share, 4),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
