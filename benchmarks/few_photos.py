"""How many photos a class to bring, and which backbone: accuracy on photos that no learner has seen.

    python -m benchmarks.few_photos --data FLOWERS --backbone bundled --out benchmarks/results/few_photos.json
    python -m benchmarks.few_photos --data FLOWERS --backbone vit_tiny_patch16_224.augreg_in21k_ft_in1k \
        --weights VIT_TINY.safetensors --out benchmarks/results/few_photos.json

`--data` is a folder of one folder of photos a class. The seed shuffles each class; its last photos are the test, its
first ones are brought, all classes as one task. Of those brought the service would hold one in ten out, at least one,
to measure and calibrate; so does this. A finished row is kept in `--out` and not measured again.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.class_incremental import RememberingBackbone
from benchmarks.datasets import LabelledImages, read_folder
from benchmarks.files import write_rows
from benchmarks.teaching import Teacher
from models.backbone import choose_device, load_backbone
from models.strategies.catalog import create_strategy
from models.strategies.values import Task

HELD_OUT_SHARE = 0.1
"""What the service holds out of a task unless it is told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one learner reached."""

    data: str
    backbone: str
    strategy: str
    photos: int
    """Brought, of each class."""
    seed: int
    n_test: int
    accuracy: float
    """On the test photos, in 0..1."""
    seconds: float
    """Of learning."""


def split(
    data: LabelledImages, *, photos: int, test_photos: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to learn from, to hold out of the task, and to test on.

    The test of a seed is the same for every number of photos, and what few bring is among what many bring.

    Raises:
        ValueError: If a class has not that many photos.
    """
    learned, held_out, tested = [], [], []
    for k in range(len(data.classes)):
        rows = np.random.default_rng((seed, k)).permutation(np.flatnonzero(data.targets == k))
        if len(rows) < photos + test_photos:
            raise ValueError(f"{data.classes[k]} has {len(rows)} photos: too few.")
        n_held_out = max(1, round(HELD_OUT_SHARE * photos))
        held_out.append(rows[:n_held_out])
        learned.append(rows[n_held_out:photos])
        tested.append(rows[-test_photos:])
    return np.concatenate(learned), np.concatenate(held_out), np.concatenate(tested)


def measure(
    backbone: RememberingBackbone,
    data: LabelledImages,
    pixels: torch.Tensor,
    *,
    name: str,
    strategy: str,
    photos: int,
    test_photos: int,
    seed: int,
) -> Row:
    """Learn from a few photos and answer the others.

    Args:
        backbone: Frozen network.
        data: All photos.
        pixels: The same at the backbone's size, uint8 `(N, 3, S, S)`.
        name: What to call the data.
        strategy: Its public name; with its default configuration.
        photos: Brought, of each class.
        test_photos: Of each class.
        seed: Of the choice of photos, and of learning.
    """
    learned, held_out, tested = split(data, photos=photos, test_photos=test_photos, seed=seed)
    task = Task(
        index=1,
        images=pixels[learned],
        labels=labels_of(data, learned),
        held_out_images=pixels[held_out],
        held_out_labels=labels_of(data, held_out),
        seed=seed,
    )
    learner = create_strategy(strategy, {}, backbone)
    started = time.perf_counter()
    Teacher(learner).teach(task)
    seconds = time.perf_counter() - started
    answers = torch.cat(
        [learner.predict(part).probabilities.argmax(dim=1) for part in pixels[tested].split(64)]
    )
    truth = learner.targets(labels_of(data, tested))
    return Row(
        data=name,
        backbone=backbone.name,
        strategy=strategy,
        photos=photos,
        seed=seed,
        n_test=len(tested),
        accuracy=round(float((answers == truth).double().mean()), 4),
        seconds=round(seconds, 1),
    )


def labels_of(data: LabelledImages, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the names of what is on these rows."""
    return tuple(data.classes[k] for k in data.targets[rows])


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print one line a learner, one column a number of photos: mean and standard deviation over the seeds."""
    counts = sorted({row["photos"] for row in rows})
    table = Table(title="Accuracy on photos never seen, by photos brought of each class")
    for heading in ("data", "backbone", "strategy"):
        table.add_column(heading)
    for count in counts:
        table.add_column(str(count), justify="right")
    for learner in dict.fromkeys((row["data"], row["backbone"], row["strategy"]) for row in rows):
        cells = []
        for count in counts:
            values = [
                100 * row["accuracy"]
                for row in rows
                if (row["data"], row["backbone"], row["strategy"]) == learner
                and row["photos"] == count
            ]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}" if values else "-")
        table.add_row(*learner, *cells)
    console.print(table)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Accuracy by photos a class and backbone.")
    parser.add_argument("--data", type=Path, required=True, help="folder of one folder a class")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path, help="of a timm backbone: safetensors or a folder")
    parser.add_argument("--strategies", nargs="+", default=["simplecil", "artsy"])
    parser.add_argument("--photos", type=int, nargs="+", default=[5, 10, 30])
    parser.add_argument("--test-photos", type=int, default=40, help="of each class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON; finished rows are not measured again")
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    console = Console()
    loaded = load_backbone(given.backbone, weights=given.weights)
    backbone = RememberingBackbone(loaded).to(choose_device("cpu"))
    data = read_folder(given.data)
    pixels = torch.stack([backbone.preprocess(image) for image in data.images])
    rows = json.loads(given.out.read_text())["rows"] if given.out and given.out.exists() else []
    for strategy in given.strategies:
        for photos in given.photos:
            for seed in given.seeds:
                wanted = {
                    "data": given.data.name,
                    "backbone": backbone.name,
                    "strategy": strategy,
                    "photos": photos,
                    "seed": seed,
                }
                if any(wanted.items() <= row.items() for row in rows):
                    continue
                row = measure(
                    backbone,
                    data,
                    pixels,
                    name=given.data.name,
                    strategy=strategy,
                    photos=photos,
                    test_photos=given.test_photos,
                    seed=seed,
                )
                rows.append(asdict(row))
                console.print(row, style="dim")
                if given.out is not None:
                    write_rows(given.out, {"command": "python -m benchmarks.few_photos"}, rows)
    show(rows, console)


if __name__ == "__main__":
    main()
