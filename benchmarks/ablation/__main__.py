"""Take Artsy's default apart: which gate, which feature it reads, how sub-networks combine, how to consolidate.

    python -m benchmarks.ablation --data CIFAR100 --weights VIT_TINY.safetensors --image-size 112 --tasks 10 \
        --train-per-class 100 --test-per-class 40 --epochs 10 --batch-size 48 --seeds 1993 --cache FOLDER \
        --out benchmarks/results/ablation.json

Training and embedding are kept in `--cache` and go on where they were interrupted; every cell of the tables is then
closed form on the features kept there, and needs neither images nor training.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.ablation.consolidation import consolidation_rows, frontier_rows
from benchmarks.ablation.features import Cache, Trainer, collect
from benchmarks.ablation.gates import gate_rows
from benchmarks.class_incremental import (
    Increment,
    Protocol,
    make_stream,
    parse_strategies,
    percent,
    plain,
)
from benchmarks.datasets import read_split
from benchmarks.files import write_rows
from models.backbone import Backbone, choose_device, load_backbone
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig

COLUMNS = {
    "gates": ("gate", "input", "combine", "routed"),
    "consolidation": ("consolidation", "drift", "head"),
    "frontier": ("method", "threshold"),
}
"""What tells the rows of a group apart, besides the seed."""


def evaluate(
    backbone: Backbone, arguments: argparse.Namespace, console: Console
) -> list[dict[str, Any]]:
    """Return the rows of all seeds."""
    config = configure(arguments)
    protocol = describe(backbone, arguments)
    rows = []
    for seed in arguments.seeds:

        def read(seed: int = seed) -> Sequence[Increment]:
            train = read_split(arguments.data, "train", per_class=arguments.train_per_class)
            test = read_split(arguments.data, "test", per_class=arguments.test_per_class)
            stream = Protocol(
                data=arguments.data.name,
                backbone=backbone.name,
                image_size=backbone.image_size,
                base_classes=0,
                tasks=arguments.tasks,
                train_per_class=arguments.train_per_class,
                test_per_class=arguments.test_per_class,
                held_out_per_class=0,
            )
            return make_stream(backbone, train, test, stream, seed)

        features = collect(
            Trainer(backbone, config, read),
            Cache(arguments.cache / f"seed-{seed}", protocol),
            with_product=arguments.own,
            on_done=partial(console.print, f"seed {seed}:", style="dim"),
        )
        rows += consolidation_rows(features, seed, projection_width=arguments.projection_width)
        rows += frontier_rows(features, seed)
        rows += gate_rows(features, seed)
        console.print(f"seed {seed}: evaluated", style="dim")
    return rows


def configure(arguments: argparse.Namespace) -> ArtsyGaussianConfig:
    """Return how adapters are trained."""
    settings = parse_strategies(f"artsy:{arguments.config}")[0][1] if arguments.config else {}
    return ArtsyGaussianConfig(epochs=arguments.epochs, batch_size=arguments.batch_size, **settings)


def describe(backbone: Backbone, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the rows, apart from the seed."""
    config = configure(arguments)
    return {
        "data": arguments.data.name,
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "image_size": backbone.image_size,
        "tasks": arguments.tasks,
        "train_per_class": arguments.train_per_class,
        "test_per_class": arguments.test_per_class,
        "bottleneck": config.bottleneck,
        "schedule": asdict(config.schedule),
    }


def write(path: Path, protocol: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the rows, next to those of other seeds that the file holds.

    Raises:
        ValueError: If the file holds another protocol's rows.
    """
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["protocol"] != json.loads(json.dumps(protocol)):
            raise ValueError(f"{path} holds another protocol's rows: choose another --out.")
        seeds = {row["seed"] for row in rows}
        rows = [row for row in kept["rows"] if row["seed"] not in seeds] + rows
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    write_rows(path, {"protocol": protocol, "machine": machine}, rows)


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a table a group: mean and, over several seeds, standard deviation."""
    for group, columns in COLUMNS.items():
        table = Table(title=group.capitalize())
        for column in columns:
            table.add_column(column)
        for column in ("routing", "last", "average", "passes"):
            table.add_column(column, justify="right")
        cells: dict[str, list[dict[str, Any]]] = {}
        for row in (row for row in rows if row["group"] == group):
            cells.setdefault(_cell(row, columns), []).append(row)
        for cell in cells.values():
            table.add_row(
                *(_text(cell[0][column]) for column in columns),
                *(percent(cell, key) for key in ("routing_accuracy", "last", "average")),
                plain(cell, "passes", 2),
            )
        console.print(table)


def _cell(row: dict[str, Any], columns: Sequence[str]) -> str:
    """Name the line of a table that a row belongs to."""
    # A frontier's thresholds differ from seed to seed; what they share is the passes they were chosen for.
    if row["group"] == "frontier":
        return f"{row['method']} {row['passes']:.2f}"
    return " ".join(row[column] for column in columns)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4f}"


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    usual = ArtsyGaussianConfig()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description="Take Artsy's default apart.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="see benchmarks.datasets")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    parser.add_argument(
        "--weights", type=Path, help="safetensors file of the backbone, or a folder of them"
    )
    parser.add_argument("--image-size", type=int, help="pixels; the backbone's own unless set")
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--train-per-class", type=int, default=100)
    parser.add_argument("--test-per-class", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--batch-size", type=int, default=usual.batch_size)
    parser.add_argument(
        "--config",
        default="",
        help="more of artsy's settings: learning_rate=0.1:augmentation=crop_flip:precision=bfloat16",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1993])
    parser.add_argument(
        "--projection-width", type=int, default=2000, help="columns of the random projection"
    )
    parser.add_argument(
        "--own", action="store_true", help="also learn with artsy itself, if its default differs"
    )
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder of the features, made if it is not there"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="JSON file of the rows")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    console = Console(width=max(100, Console().width))  # else a log file cuts names off
    backbone = load_backbone(
        arguments.backbone, weights=arguments.weights, image_size=arguments.image_size
    ).to(choose_device(arguments.device))
    rows = evaluate(backbone, arguments, console)
    if arguments.out is not None:
        write(arguments.out, describe(backbone, arguments), rows)
    show(rows, console)


if __name__ == "__main__":
    main()
