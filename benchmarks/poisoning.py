"""How many poisoned batches are held before they are learned, and how many honest ones with them.

    python -m benchmarks.poisoning --data CIFAR100 --out benchmarks/results/poisoning.json

A learner knows some classes; a batch of others comes, honest or poisoned, and `models.screening` says whether to hold
it. Thresholds were chosen on the first 125 images of every class of CIFAR-100 (`--part choose`); what is reported comes
from the next 125, other images of the same classes. No threshold was changed for scikit-learn's digits, but theirs are
the same images in both parts. What `models.harm` finds after learning is not measured here.

The live head is stood in for by discriminant analysis on the frozen features. Copies are re-encoded as JPEG, every
other one mirrored.

Shapes: N images, D width of the features, S input side.
"""

import argparse
import io
import json
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from torch import Tensor

from benchmarks.datasets import LabelledImages, read_digits, read_split
from models.backbone import Backbone, choose_device, load_backbone
from models.copies import thumbnails
from models.head import GaussianHead
from models.screening import KNOWN_IMAGES, LabelledFeatures, choose_suspects, screen
from models.statistics import ClassStatistics

PART = 125
"""Images a class in each part."""
N_KNOWN = 20
SHRINKAGE = 0.3
HONEST_SIZES = ((2, 20), (2, 50), (5, 5), (5, 20), (5, 50), (10, 10), (10, 20), (20, 5), (20, 20))
"""Classes of a batch, and images a class."""
SIMILAR_SIZES = ((2, 20), (2, 50), (2, 100), (5, 5), (5, 20), (5, 50), (5, 100))
DIGITS_SIZES = ((2, 10), (2, 50), (5, 5), (5, 20), (5, 100), (10, 10), (10, 50))
POISONED_SIZES = ((2, 50), (5, 10), (5, 20), (5, 50), (10, 20), (20, 20))
SIMILAR = (
    "beaver dolphin otter seal whale",
    "aquarium_fish flatfish ray shark trout",
    "orchid poppy rose sunflower tulip",
    "bottle bowl can cup plate",
    "apple mushroom orange pear sweet_pepper",
    "clock keyboard lamp telephone television",
    "bed chair couch table wardrobe",
    "bee beetle butterfly caterpillar cockroach",
    "bear leopard lion tiger wolf",
    "bridge castle house road skyscraper",
    "cloud forest mountain plain sea",
    "camel cattle chimpanzee elephant kangaroo",
    "fox porcupine possum raccoon skunk",
    "crab lobster snail spider worm",
    "baby boy girl man woman",
    "crocodile dinosaur lizard snake turtle",
    "hamster mouse rabbit shrew squirrel",
    "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "bicycle bus motorcycle pickup_truck train",
    "lawn_mower rocket streetcar tank tractor",
)
"""The twenty superclasses of CIFAR-100 (Krizhevsky, 2009)."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Images to draw batches from, with their features."""

    features: Tensor
    """`(N, D)`."""
    images: Tensor
    """uint8 `(N, 3, S, S)`."""
    targets: Rows
    classes: tuple[str, ...]

    def rows_of(self, target: int, rng: np.random.Generator) -> Rows:
        """Return the rows of a class in a random order."""
        return rng.permutation(np.flatnonzero(self.targets == target))


@dataclass
class Batch:
    """A batch as it would come, and what the learner has stored of the classes it knows."""

    rows: list[Rows]
    """Rows of each class of the batch."""
    known: dict[int, Rows]
    targets: Rows | None = None
    """Labels, where they are not those of the classes."""
    copied: int = 0
    """So many of the last class's images are copies, to be changed as copies are."""


Poison = Callable[[Pool, Batch, np.random.Generator], None]
Draw = Callable[[Pool, np.random.Generator, int, int], Batch]


@dataclass(frozen=True)
class Case:
    """A kind of batch and a size of it."""

    kind: str
    is_poisoned: bool
    pool: Pool
    make: Draw
    n_classes: int
    n_images: int


def shuffle(share: float) -> Poison:
    """Draw the labels of a share of the images by lot."""

    def poison(pool: Pool, batch: Batch, rng: np.random.Generator) -> None:
        targets = np.repeat(np.arange(len(batch.rows)), [len(rows) for rows in batch.rows])
        moved = rng.permutation(len(targets))[: round(share * len(targets))]
        targets[moved] = targets[rng.permutation(moved)]
        batch.targets = targets

    return poison


def relabel_known(pool: Pool, batch: Batch, rng: np.random.Generator) -> None:
    """Bring other images of a known class under a new name."""
    target = int(rng.choice(list(batch.known)))
    fresh = np.setdiff1d(np.flatnonzero(pool.targets == target), batch.known[target])
    batch.rows[-1] = rng.permutation(fresh)[: len(batch.rows[-1])]


def relabel_batch(pool: Pool, batch: Batch, rng: np.random.Generator) -> None:
    """Bring other images of a class of the batch under a second name."""
    mine = batch.rows[0]
    fresh = np.setdiff1d(np.flatnonzero(pool.targets == pool.targets[mine[0]]), mine)
    batch.rows[-1] = rng.permutation(fresh)[: len(mine)]


def flood(pool: Pool, batch: Batch, rng: np.random.Generator) -> None:
    """Flood a class with five times as many images, of all known classes."""
    fresh = np.concatenate(
        [
            np.setdiff1d(np.flatnonzero(pool.targets == target), rows)
            for target, rows in batch.known.items()
        ]
    )
    n = len(batch.rows[-1])
    batch.rows[-1] = np.concatenate([batch.rows[-1], rng.permutation(fresh)[: 5 * n]])


def mislabel(pool: Pool, batch: Batch, rng: np.random.Generator) -> None:
    """Fill a class with other images of the batch's other classes."""
    fresh = np.concatenate(
        [
            np.setdiff1d(np.flatnonzero(pool.targets == pool.targets[rows[0]]), rows)
            for rows in batch.rows[:-1]
        ]
    )
    batch.rows[-1] = rng.permutation(fresh)[: len(batch.rows[-1])]


def copy_batch(pool: Pool, batch: Batch, rng: np.random.Generator) -> None:
    """Bring copies of half a class of the batch under another name too."""
    n = len(batch.rows[0]) // 2
    batch.rows[-1] = np.concatenate([batch.rows[-1][n:], batch.rows[0][:n]])
    batch.copied = n


def copy_known(pool: Pool, batch: Batch, rng: np.random.Generator) -> None:
    """Bring copies of stored images of a known class among those of a new one, half and half."""
    n = len(batch.rows[-1]) // 2
    source = batch.known[int(rng.choice(list(batch.known)))]
    batch.rows[-1] = np.concatenate([batch.rows[-1][n:], source[:n]])
    batch.copied = min(n, len(source))


POISONS: dict[str, Poison] = {
    "all labels shuffled": shuffle(1.0),
    "50 % of the labels shuffled": shuffle(0.5),
    "25 % of the labels shuffled": shuffle(0.25),
    "known class under a new name": relabel_known,
    "one class of the batch under two names": relabel_batch,
    "class flooded with known classes": flood,
    "class filled from the others": mislabel,
    "copies of another class of the batch": copy_batch,
    "copies of a known class": copy_known,
}


def make_pool(backbone: Backbone, images: LabelledImages) -> Pool:
    """Preprocess and embed images."""
    pixels = torch.stack([backbone.preprocess(image) for image in images.images])
    return Pool(backbone.embed(pixels).cpu(), pixels, images.targets, images.classes)


def draw(pool: Pool, new: Rows, known: Rows, n: int, rng: np.random.Generator) -> Batch:
    """Draw an honest batch of some classes, `n` images each, for a learner that knows others."""
    return Batch(
        rows=[pool.rows_of(int(k), rng)[:n] for k in new],
        known={int(k): pool.rows_of(int(k), rng)[:KNOWN_IMAGES] for k in known},
    )


def judge_batch(pool: Pool, batch: Batch, backbone: Backbone) -> list[str]:
    """Return the codes of the findings that hold a batch, as a worker would find them."""
    rows = np.concatenate(batch.rows)
    targets = batch.targets
    if targets is None:
        targets = np.repeat(np.arange(len(batch.rows)), [len(part) for part in batch.rows])
    labels = tuple(f"new {target}" for target in targets)
    images, features = pool.images[rows], pool.features[rows]
    if batch.copied:
        copies = torch.stack(
            [_copy(image, mirror=i % 2 == 1) for i, image in enumerate(images[-batch.copied :])]
        )
        images = torch.cat([images[: -batch.copied], copies])
        features = torch.cat([features[: -batch.copied], backbone.embed(copies).cpu()])
    known = None
    if batch.known:
        stored = np.concatenate(list(batch.known.values()))
        k = torch.arange(len(batch.known)).repeat_interleave(KNOWN_IMAGES)
        statistics = ClassStatistics.of(pool.features[stored], k, len(batch.known))
        answers = GaussianHead(statistics, shrinkage=SHRINKAGE).logits(features).argmax(dim=1)
        names = [f"known {target}" for target in batch.known]
        suspects = choose_suspects(answers, labels, names)
        if suspects:
            chosen = [names.index(name) for name in suspects]
            rows = np.concatenate([list(batch.known.values())[i] for i in chosen])
            of = tuple(np.repeat(suspects, KNOWN_IMAGES).tolist())
            known = LabelledFeatures(pool.features[rows], of, thumbnails(pool.images[rows]))
    findings = screen(LabelledFeatures(features, labels, thumbnails(images)), known)
    return [finding.code for finding in findings if finding.holds]


def draw_different(pool: Pool, rng: np.random.Generator, C: int, n: int) -> Batch:
    """Draw any classes, known and new."""
    order = rng.permutation(len(pool.classes))
    return draw(pool, order[:C], order[C : C + N_KNOWN], n, rng)


def draw_similar(pool: Pool, rng: np.random.Generator, C: int, n: int) -> Batch:
    """Draw classes of one superclass, the rest of which is known."""
    names = str(rng.choice(SIMILAR)).split()
    group = rng.permutation([pool.classes.index(name) for name in names])
    others = rng.permutation(np.setdiff1d(np.arange(len(pool.classes)), group))
    return draw(pool, group[:C], np.concatenate([group[C:], others])[:N_KNOWN], n, rng)


def draw_poisoned(poison: Poison) -> Draw:
    """Return what draws an honest batch and poisons it."""

    def run(pool: Pool, rng: np.random.Generator, C: int, n: int) -> Batch:
        batch = draw_different(pool, rng, C, n)
        poison(pool, batch, rng)
        return batch

    return run


def list_cases(pool: Pool, digits: Pool) -> list[Case]:
    """Return what is measured, in order."""
    kinds: list[tuple[str, bool, Pool, Draw, Sequence[tuple[int, int]]]] = [
        ("different classes", False, pool, draw_different, HONEST_SIZES),
        ("one superclass", False, pool, draw_similar, SIMILAR_SIZES),
        ("digits", False, digits, draw_different, DIGITS_SIZES),
    ]
    kinds += [
        (kind, True, pool, draw_poisoned(poison), POISONED_SIZES)
        for kind, poison in POISONS.items()
    ]
    return [
        Case(kind, is_poisoned, source, make, *size)
        for kind, is_poisoned, source, make, sizes in kinds
        for size in sizes
        if size[0] > 2 or kind != "class filled from the others"
    ]


def measure(
    case: Case, backbone: Backbone, *, episodes: int, seeds: Sequence[int], number: int
) -> dict[str, Any]:
    """Judge batches of one kind and size; honest ones twice as many.

    Args:
        case: Kind and size.
        backbone: Embeds copies.
        episodes: Poisoned batches of each seed.
        seeds: Everything random derives from one of them and from `number`.
        number: Of the case.
    """
    n = episodes if case.is_poisoned else 2 * episodes
    codes: Counter[str] = Counter()
    held = 0
    for seed, episode in product(seeds, range(n)):
        rng = np.random.default_rng([seed, number, episode])
        batch = case.make(case.pool, rng, case.n_classes, case.n_images)
        codes_held = set(judge_batch(case.pool, batch, backbone))
        held += bool(codes_held)
        codes.update(codes_held)
    return {
        "kind": case.kind,
        "poisoned": case.is_poisoned,
        "classes": case.n_classes,
        "images_a_class": case.n_images,
        "n": n * len(seeds),
        "held": held,
        "codes": dict(sorted(codes.items())),
    }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Measure how many poisoned and honest batches are held.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-100: benchmarks.datasets")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path, help="safetensors file of the backbone")
    parser.add_argument("--part", choices=("choose", "report"), default="report")
    parser.add_argument(
        "--episodes",
        type=int,
        default=20,
        help="batches of each kind and size and seed; honest ones twice as many",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1993, 1994, 1995])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the values here as JSON")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    backbone = load_backbone(arguments.backbone, weights=arguments.weights)
    backbone.to(choose_device(arguments.device))
    skipped = 0 if arguments.part == "choose" else PART
    images = read_split(arguments.data, "train", per_class=skipped + PART)
    pool = make_pool(backbone, images.select(_after(images.targets, skipped)))
    digits = make_pool(backbone, read_digits(160)[0])
    console = Console(width=160)
    rows = []
    for number, case in enumerate(list_cases(pool, digits)):
        row = measure(
            case, backbone, episodes=arguments.episodes, seeds=arguments.seeds, number=number
        )
        rows.append(row)
        size = f"{row['classes']} x {row['images_a_class']}"
        console.print(f"{row['kind']:40} {size:>9} {row['held']:4} of {row['n']}  {row['codes']}")
    if arguments.out is not None:
        result = {
            "command": "python -m benchmarks.poisoning",
            "machine": f"{platform.machine()}, {arguments.threads} threads",
            "protocol": {
                "data": arguments.data.name,
                "part": arguments.part,
                "backbone": backbone.name,
                "image_size": backbone.image_size,
                "known_classes": N_KNOWN,
                "known_images": KNOWN_IMAGES,
                "episodes": arguments.episodes,
            },
            "seeds": arguments.seeds,
            "rows": rows,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result) + "\n")


def _after(targets: Rows, skipped: int) -> Rows:
    """Return the rows of every class but its first ones."""
    return np.concatenate(
        [np.flatnonzero(targets == k)[skipped:] for k in range(int(targets.max()) + 1)]
    )


def _copy(image: Tensor, *, mirror: bool) -> Tensor:
    """Return what a careless or a cunning sender makes of an image: re-encoded, perhaps mirrored."""
    pixels = image.flip(-1) if mirror else image
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, format="JPEG", quality=80)
    with Image.open(buffer) as copy:
        return torch.from_numpy(np.asarray(copy).copy()).permute(2, 0, 1)


if __name__ == "__main__":
    main()
