"""How fast a sub-network is trained, beside the plain loop that one would write, and how well features answer then.

    python -m benchmarks.training_pace --data DIR --out benchmarks/results/training_pace.json

Every seed draws classes, and trains on the same images in every way, one after another in this process and on one
thread; processor time is compared, so that other work on the machine counts little. `plain` is EASE's training: an
adapter in every block, each image cut anew whenever it is shown, as many epochs, images a step and as high a rate as
the others. `ours` is what `artsy` does. The others do one thing otherwise. Answers are those of `artsy`'s heads
over the classes, and of the nearest prototype, as EASE has it.

Reference:
    Zhou et al., 2024, https://arxiv.org/abs/2403.12030.
"""

import argparse
import json
import math
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from benchmarks.class_incremental import preprocess
from benchmarks.datasets import read_split
from benchmarks.files import write_rows
from models.adapter import Adapter
from models.backbone import Backbone, load_backbone
from models.dataset import augment
from models.fitting import seeded
from models.head import CosineHead
from models.shown import FeatureRecords
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.silent import SilentSubnetwork
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import Task
from models.views import computes_in_bfloat16

WAYS = ("frozen", "plain", "ours", "all blocks", "half the patches", "views anew")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training."""

    seed: int
    way: str
    seconds: float
    """Of processor time; of all that comes before the adapter is there."""
    accuracy: float
    """Share of held-out images that the heads answer rightly."""
    loss: float
    """Mean negative log-likelihood of the right answers to them."""
    nearest: float
    """Share that the nearest prototype answers rightly."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images `(N, 3, S, S)` to train on and to test with, and their classes from 0."""

    images: Tensor
    targets: Tensor
    test_images: Tensor
    test_targets: Tensor

    def of(self, classes: Tensor) -> "Split":
        """Return the images of some classes, numbered in that order."""
        train, test = (
            torch.cat([(targets == k).nonzero()[:, 0] for k in classes])
            for targets in (self.targets, self.test_targets)
        )
        places = torch.zeros(int(self.targets.max()) + 1, dtype=torch.int64)
        places[classes] = torch.arange(len(classes))
        return Split(
            images=self.images[train],
            targets=places[self.targets[train]],
            test_images=self.test_images[test],
            test_targets=places[self.test_targets[test]],
        )


def plain_loop(backbone: Backbone, split: Split, config: ArtsyConfig, seed: int) -> Adapter:
    """Train an adapter in all blocks, as one would write it."""
    with seeded(seed):
        adapter = Adapter(
            width=backbone.feature_width, depth=backbone.depth, bottleneck=config.bottleneck
        )
        head = CosineHead(backbone.feature_width, int(split.targets.max()) + 1)
        parameters = [*adapter.train().parameters(), *head.parameters()]
        optimizer = torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=0.9, weight_decay=5e-4
        )
        n_steps = config.epochs * math.ceil(len(split.images) / config.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(config.epochs):
            order = torch.randperm(len(split.images), generator=generator)
            for rows in order.split(config.batch_size):
                images = augment(split.images[rows] / 255, config.augmentation, generator)
                loss = F.cross_entropy(head(backbone(images, adapter)), split.targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return adapter.freeze()


def train(way: str, backbone: Backbone, split: Split, config: ArtsyConfig, seed: int) -> Any:
    """Return the adapter that one way of training ends with; None is none."""
    if way == "frozen":
        return None
    if way == "plain":
        return plain_loop(backbone, split, config, seed)
    task = Task(index=1, images=split.images, labels=(), seed=seed)
    adapter, _ = train_subnetwork(
        backbone,
        task,
        split.targets,
        bottleneck=config.bottleneck,
        schedule=config.schedule(len(split.images)),
        first=0 if way == "all blocks" else config.first_trained(backbone),
        n_views=0 if way == "views anew" else config.views,
        patch_share=0.5 if way == "half the patches" else config.patch_share,
    )
    return adapter


def measure(way: str, backbone: Backbone, split: Split, config: ArtsyConfig, seed: int) -> Row:
    """Train once, and ask about the images that are held out."""
    began = time.process_time()
    adapter = train(way, backbone, split, config, seed)
    seconds = time.process_time() - began
    known, asked = (
        backbone.embed(images, adapter, pooling="token_and_patches")
        for images in (split.images, split.test_images)
    )
    n_classes = int(split.targets.max()) + 1
    records = FeatureRecords.of(known, split.targets, n_classes, seed=seed)
    heads = SilentSubnetwork.of(1, adapter, torch.arange(n_classes), records)
    answers, right = heads.log_probabilities(asked), split.test_targets
    D = backbone.feature_width
    prototypes = F.normalize(records.means[:, :D].float())
    nearest = (F.normalize(asked[:, :D]) @ prototypes.T).argmax(dim=1)
    return Row(
        seed=seed,
        way=way,
        seconds=round(seconds, 2),
        accuracy=round(float((answers.argmax(dim=1) == right).double().mean()), 4),
        loss=round(float(F.nll_loss(answers, right)), 4),
        nearest=round(float((nearest == right).double().mean()), 4),
    )


def read(data: Path, backbone: Backbone, *, train_per_class: int, test_per_class: int) -> Split:
    """Read a data set's images as the backbone takes them."""
    train, test = (
        read_split(data, name, per_class=n)
        for name, n in (("train", train_per_class), ("test", test_per_class))
    )
    return Split(
        images=preprocess(backbone, train),
        targets=torch.from_numpy(train.targets),
        test_images=preprocess(backbone, test),
        test_targets=torch.from_numpy(test.targets),
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="How fast a sub-network is trained.")
    parser.add_argument("--data", type=Path, required=True, help="see benchmarks.datasets")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--images", type=int, default=100, help="to train on, a class")
    parser.add_argument("--test-images", type=int, default=100, help="a class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--config", type=json.loads, default={}, help="of artsy, as JSON")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    backbone = load_backbone(
        given.backbone,
        weights=given.weights,
        image_size=given.image_size,
        with_background=False,
    )
    config = ArtsyConfig(**given.config)
    images = read(
        given.data, backbone, train_per_class=given.images, test_per_class=given.test_images
    )
    head = {
        "command": "python -m benchmarks.training_pace",
        "backbone": given.backbone,
        "image_size": backbone.image_size,
        "data": given.data.name,
        "classes": given.classes,
        "images": given.images,
        "config": given.config,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": computes_in_bfloat16(),
    }
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        generator = torch.Generator().manual_seed(seed)
        n_classes = int(images.targets.max()) + 1
        split = images.of(torch.randperm(n_classes, generator=generator)[: given.classes])
        for way in given.ways:
            rows.append(asdict(measure(way, backbone, split, config, seed)))
            Console().print(json.dumps(rows[-1]))
            if given.out is not None:
                write_rows(given.out, head, rows)


if __name__ == "__main__":
    main()
