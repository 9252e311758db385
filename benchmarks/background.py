"""Make the background of a backbone from a data set of the benchmarks: the one that is bundled, for instance.

    python -m benchmarks.background --data TINY_IMAGENET --out models/weights/bundled.background.safetensors

`filopodia background` does the same with a folder of images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.class_incremental import preprocess
from benchmarks.datasets import read_split
from benchmarks.files import write_bytes
from models.backbone import BUNDLED, choose_device, load_backbone
from models.background import measure

PER_CLASS = 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Embed the first training images of every class, and write their statistics."""
    given = _parse(arguments)
    loaded = load_backbone(
        given.backbone, weights=given.weights, image_size=given.image_size, with_background=False
    )
    backbone = loaded.to(choose_device(given.device))
    shown = read_split(given.data, "train", per_class=given.per_class)
    features = backbone.embed(preprocess(backbone, shown), pooling="token_and_patches")
    targets = torch.from_numpy(shown.targets)
    data = measure(features, targets, fingerprint=backbone.fingerprint)
    write_bytes(given.out, data)
    Console().print(f"{given.out}: {len(shown):,} images, {len(data) / 1000:,.0f} kB")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.background")
    parser.add_argument("--data", type=Path, required=True, help="see benchmarks/datasets.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", default=BUNDLED)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--per-class", type=int, default=PER_CLASS, help="most images a class")
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
