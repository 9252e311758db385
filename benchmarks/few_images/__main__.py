"""Few images a class: the default beside the baselines, in every cell of a grid.

    python -m benchmarks.few_images --cifar100 CIFAR100 --photos PHOTOS --out benchmarks/results/few_images.json
    python -m benchmarks.few_images --cifar100 CIFAR100 --photos PHOTOS --out benchmarks/results/few_images.json \
        --backbone vit_tiny_patch16_224.augreg_in21k_ft_in1k --weights VIT_TINY.safetensors --image-size 112

Data are scikit-learn's digits, and what is given: CIFAR-100 (5 classes as one task, 20 as four), and each folder of
`--photos`, of one folder of images a class. A class brings 1 to 50 images, or each class another number (`mixed`); of
those, the service's own rule holds some out. What nobody taught are other classes of the same data, or other data.
A finished row is kept in `--out` and not measured again.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.class_incremental import RememberingBackbone, parse_strategies
from benchmarks.datasets import read_digits, read_folder, read_split
from benchmarks.few_images.cells import MIX, MIXED, Pool, cut, make_stream
from benchmarks.few_images.rows import measure
from benchmarks.few_images.summary import JSON, show
from benchmarks.files import write_rows
from models.backbone import Backbone, choose_device, load_backbone
from models.strategies.catalog import create_strategy
from service.intake.splitting import CROSS_VALIDATED_BELOW

CIFAR_CLASSES = (5, 20)
TEST_PER_CLASS = 50
PHOTO_TEST_SHARE = 0.3


def pools(arguments: argparse.Namespace, backbone: Backbone) -> Iterator[tuple[Pool, int]]:
    """Read all data, each with the numbers of classes to teach."""
    yield Pool.of("digits", *read_digits(max(MIX)), backbone), 10
    for folder in sorted(arguments.photos.iterdir()) if arguments.photos else ():
        photos = read_folder(folder)
        yield (
            Pool.of(folder.name, *cut(photos, test_share=PHOTO_TEST_SHARE), backbone),
            len(photos.classes),
        )
    if arguments.cifar100:
        train = read_split(arguments.cifar100, "train", per_class=max(MIX))
        test = read_split(arguments.cifar100, "test", per_class=TEST_PER_CLASS)
        cifar = Pool.of("cifar100", train, test, backbone)
        yield from ((cifar, n_classes) for n_classes in CIFAR_CLASSES)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Few images a class.")
    parser.add_argument("--cifar100", type=Path, help="see benchmarks.datasets")
    parser.add_argument("--photos", type=Path, help="folder of data sets, one folder a class each")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path, help="of a timm backbone: safetensors or a folder")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--strategies", default="artsy,simplecil,ranpac,ease")
    parser.add_argument("--images", nargs="+", default=["1", "3", "5", "10", "20", "50", MIXED])
    parser.add_argument("--data", nargs="+", help="names; all that is there unless set")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON; finished rows are not measured again")
    return parser.parse_args(argv)


def cells(
    given: argparse.Namespace, available: Sequence[tuple[Pool, int]]
) -> Iterator[tuple[Pool, int, int | str, int]]:
    """Return what is asked for, in turn: data, number of classes, images a class, seed."""
    wanted = [(pool, n) for pool, n in available if not given.data or pool.name in given.data]
    for (pool, n_classes), images, seed in product(wanted, given.images, given.seeds):
        yield pool, n_classes, images if images == MIXED else int(images), seed


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    given = parse_arguments(argv)
    torch.set_num_threads(given.threads)
    console = Console()
    loaded = load_backbone(given.backbone, weights=given.weights, image_size=given.image_size)
    backbone = RememberingBackbone(loaded).to(choose_device("auto"))
    rows: list[JSON] = (
        json.loads(given.out.read_text())["rows"] if given.out and given.out.exists() else []
    )
    available = list(pools(given, backbone))
    for pool, n_classes, images, seed in cells(given, available):
        others = list({id(other): other for other, _ in available if other is not pool}.values())
        for name, config in parse_strategies(given.strategies):
            strategy = create_strategy(name, config, backbone)
            about: JSON = {
                "backbone": backbone.name,
                "image_size": backbone.image_size,
                "data": pool.name,
                "classes": n_classes,
                "images": images,
                "strategy": strategy.name,
                "config": json.loads(json.dumps(asdict(strategy.config))),
                "seed": seed,
            }
            if any(about.items() <= row.items() for row in rows):
                continue
            stream = make_stream(
                pool,
                others,
                n_classes=n_classes,
                images=images,
                seed=seed,
                hold_out_from=CROSS_VALIDATED_BELOW if strategy.cross_validates else 0,
            )
            rows.append(asdict(measure(strategy, stream, about)))
            console.print(rows[-1], style="dim")
            if given.out is not None:
                write_rows(given.out, {"command": "python -m benchmarks.few_images"}, rows)
    show(rows, console)


if __name__ == "__main__":
    main()
