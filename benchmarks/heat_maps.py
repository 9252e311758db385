"""Which map of an image is most faithful: what covering its strongest places first takes from the answer.

    python -m benchmarks.heat_maps --data FLOWERS --per-class 5

`--data` is a folder of one folder of photos a class. The default strategy learns some photos of each class with the
bundled backbone; the maps are of others. Places are covered in the order of the map, the strongest first, in eight
steps (deletion), or uncovered (insertion). What is reported is the mean score of the answered class over the steps of
insertion less that of deletion: above 0 the map is better than chance. Places are covered by a blur, and for comparison
by the image's mean colour, since a map that is made by covering may be flattered where it is judged by the same.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from benchmarks.datasets import read_folder
from models import occlusion
from models.backbone import load_backbone
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy
from models.strategies.values import Task

STEPS = 8
LEARNED = 40
"""Photos a class that are learned."""

Map = Callable[[Strategy[Any], Tensor, int], Tensor]


def by_chance(strategy: Strategy[Any], image: Tensor, answered: int) -> Tensor:
    """Return a map of nothing."""
    generator = torch.Generator().manual_seed(int(image.sum()))
    return torch.rand(occlusion.CELLS, occlusion.CELLS, generator=generator)


def by_middle(strategy: Strategy[Any], image: Tensor, answered: int) -> Tensor:
    """Return the map that the middle of a photo matters most."""
    places = torch.arange(occlusion.CELLS) - (occlusion.CELLS - 1) / 2
    return -(places[:, None].square() + places[None].square())


def by_edges(strategy: Strategy[Any], image: Tensor, answered: int) -> Tensor:
    """Return where a photo has most edges."""
    grey = image.float().mean(dim=0)
    edges = torch.zeros_like(grey)
    edges[1:] += (grey[1:] - grey[:-1]).abs()
    edges[:, 1:] += (grey[:, 1:] - grey[:, :-1]).abs()
    return F.adaptive_avg_pool2d(edges[None], occlusion.CELLS)[0]


def by_tokens(strategy: Strategy[Any], image: Tensor, answered: int) -> Tensor:
    """Return what each patch token adds to the mean of all, read by the heads: exact up to the pooling."""
    backbone = strategy.backbone
    pixels = (image[None] / 255 - backbone.mean) / backbone.std
    tokens = backbone.vit.forward_features(pixels)
    head = backbone.vit.forward_head(tokens, pre_logits=True).float()
    patches = tokens[:, backbone.vit.num_prefix_tokens :].float()
    n, mean = patches.shape[1], patches.mean(dim=1)
    without = [(mean * n - patches[:, i]) / (n - 1) for i in range(n)]
    features = torch.cat([torch.cat([head, each], dim=1) for each in (mean, *without)])
    answers = strategy.predict_features(
        features, lambda rows: image[None].repeat(len(rows), 1, 1, 1)
    )
    odds = answers.probabilities[:, answered].clamp(1e-6, 1 - 1e-6).logit()
    side = math.isqrt(n)
    lost = (odds[0] - odds[1:]).view(1, 1, side, side)
    return F.interpolate(lost, size=(occlusion.CELLS,) * 2, mode="bilinear")[0, 0]


def by_occlusion(strategy: Strategy[Any], image: Tensor, answered: int) -> Tensor:
    """Return the map that the service makes."""
    answers = strategy.predict(occlusion.covered(image))
    return occlusion.speaks_for(answers.probabilities, answered)


MAPS: dict[str, Map] = {
    "chance": by_chance,
    "the middle": by_middle,
    "edges": by_edges,
    "patch tokens": by_tokens,
    "occlusion": by_occlusion,
}


@torch.no_grad()
def faithfulness(
    strategy: Strategy[Any], image: Tensor, heat: Tensor, answered: int, fill: Tensor
) -> float:
    """Return the mean score while places are uncovered in the order of the map, less that while they are covered."""
    side = image.shape[-1]
    spread = F.interpolate(heat[None, None].float(), size=(side, side), mode="bilinear")[0, 0]
    order = spread.flatten().argsort(descending=True)
    images = []
    for step in range(STEPS + 1):
        strongest = torch.zeros(side * side, dtype=torch.bool)
        strongest[order[: side * side * step // STEPS]] = True
        strongest = strongest.view(side, side)
        images += [torch.where(strongest, fill, image), torch.where(strongest, image, fill)]
    scores = strategy.predict(torch.stack(images)).probabilities[:, answered]
    return float((scores[1::2] - scores[0::2]).mean())


def main() -> None:
    """Measure all maps and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=5)
    arguments = parser.parse_args()
    backbone = load_backbone("bundled")
    photos = read_folder(arguments.data)
    learned, asked = [], []
    targets = photos.targets.tolist()
    for target in range(len(photos.classes)):
        mine = [i for i, each in enumerate(targets) if each == target]
        order = torch.randperm(len(mine), generator=torch.Generator().manual_seed(0)).tolist()
        chosen = [mine[i] for i in order]
        learned += chosen[:LEARNED]
        asked += chosen[LEARNED : LEARNED + arguments.per_class]
    strategy = create_strategy("artsy", {}, backbone)
    images = torch.stack([backbone.preprocess(photos.images[i]) for i in learned])
    strategy.learn(Task(1, images, tuple(photos.classes[targets[i]] for i in learned)))
    table = Table(
        "map", "covered by a blur", "covered by the mean colour", title=f"n = {len(asked)}"
    )
    tried = [backbone.preprocess(photos.images[i]) for i in asked]
    answers = [int(strategy.predict(image[None]).probabilities.argmax()) for image in tried]
    for name, make in MAPS.items():
        row = []
        maps = [make(strategy, x, k) for x, k in zip(tried, answers, strict=True)]
        for fill in (occlusion.blurred, _mean_colour):
            found = torch.tensor(
                [
                    faithfulness(strategy, x, heat, k, fill(x))
                    for x, heat, k in zip(tried, maps, answers, strict=True)
                ]
            )
            error = float(found.std()) / math.sqrt(len(found))
            row.append(f"{float(found.mean()):+.3f} ± {error:.3f}")
        table.add_row(name, *row)
    Console().print(table)


def _mean_colour(image: Tensor) -> Tensor:
    return image.float().mean(dim=(1, 2), keepdim=True).round().to(torch.uint8).expand_as(image)


if __name__ == "__main__":
    main()
