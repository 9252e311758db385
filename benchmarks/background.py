"""Make the background of a backbone from a data set of the benchmarks: the one that is bundled, for instance.

    python -m benchmarks.background --data TINY_IMAGENET --out models/weights/bundled.background.safetensors

`filopodia background` does the same with a folder of images. To a file of before backgrounds held the features of drawn
pictures of nothing (`models.nothing`) these are added, and its statistics stay as they are, bit for bit:

    python -m benchmarks.background --add-nothing --out models/weights/bundled.background.safetensors

With `--compare` it is said how far the test images spread
in the space of the background, a dimension: 1 if they are spread as the images that it was made of.

Shapes: N images, W = 2 D, width of the features.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.class_incremental import preprocess
from benchmarks.datasets import LabelledImages, read_split
from benchmarks.files import write_bytes
from models.backbone import BUNDLED, Backbone, choose_device, load_backbone
from models.background import Background, add_nothing, measure
from models.errors import BackboneError
from models.nothing import embed_nothing

PER_CLASS = 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Embed the first training images of every class and write their statistics, or complete a file."""
    given = _parse(arguments)
    loaded = load_backbone(
        given.backbone, weights=given.weights, image_size=given.image_size, with_background=False
    )
    backbone = loaded.to(choose_device(given.device))
    statistics = given.out.read_bytes() if given.add_nothing else _measure(backbone, given)
    data = add_nothing(statistics, embed_nothing(backbone, "token_and_patches"))
    background = Background.from_bytes(data)
    if background.fingerprint != backbone.fingerprint:
        raise BackboneError(f"{given.out} was made with other weights, or for another image size.")
    write_bytes(given.out, data)
    console = Console()
    console.print(f"{given.out}: {background.n_images:,} images, {len(data) / 1000:,.0f} kB")
    if given.compare:
        tested = read_split(given.data, "test")
        targets = torch.from_numpy(tested.targets)
        total, within = spread(embed(backbone, tested), targets, background)
        console.print(
            f"{len(tested):,} test images: {total:.2f} around the mean of all, "
            f"{within:.2f} around those of their classes"
        )


def _measure(backbone: Backbone, given: argparse.Namespace) -> bytes:
    shown = read_split(given.data, "train", per_class=given.per_class)
    targets = torch.from_numpy(shown.targets)
    return measure(embed(backbone, shown), targets, fingerprint=backbone.fingerprint)


def embed(backbone: Backbone, data: LabelledImages) -> Tensor:
    """Embed images as the service does, `(N, W)`."""
    features: Tensor = backbone.embed(preprocess(backbone, data), pooling="token_and_patches")
    return features.cpu()


def spread(features: Tensor, targets: Tensor, background: Background) -> tuple[float, float]:
    """Return the mean variance of features `(N, W)` in units of the background's: around its mean, and within classes.

    Mean square lengths in the whitened space, divided by W; those within classes around the classes' own means.
    """
    found = Background.of(features, targets, fingerprint=background.fingerprint)
    apart = features.double() - background.mean
    total = apart.T @ apart / len(features)
    width = features.shape[1]
    return (
        float(torch.linalg.solve(background.covariance, total).trace()) / width,
        float(torch.linalg.solve(background.within, found.within).trace()) / width,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.background")
    parser.add_argument("--data", type=Path, help="see benchmarks/datasets.py")
    parser.add_argument(
        "--add-nothing", action="store_true", help="to the file at --out: no image is measured"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", default=BUNDLED)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--per-class", type=int, default=PER_CLASS, help="most images a class")
    parser.add_argument("--compare", action="store_true", help="with the test images")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    if given.data is None and (given.compare or not given.add_nothing):
        parser.error("--data is needed, but for --add-nothing alone")
    return given


if __name__ == "__main__":
    main()
