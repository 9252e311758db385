"""Class-incremental learning: every strategy on the same images, in the same order, from the same backbone.

    python -m benchmarks.class_incremental --data CIFAR100 --weights VIT_TINY.safetensors --image-size 112 \
        --strategies artsy,ease,ranpac --tasks 10 --train-per-class 100 --test-per-class 40 --seeds 1993

The classes are shuffled by the seed (NumPy's RandomState, as the field's toolboxes do: 1993 is the usual one) and cut
into tasks. After each task every image of every class seen so far is answered over all of them, the task not given.
A finished row is kept in `--out` and not measured again, so an interrupted run continues.

`--at-once joint` learns all tasks as one and is the upper bound: what it answers "after task i" is its choice among the
classes seen by then. Learning again from everything at each step would be fairer to it, and T / 2 times as long.

Shapes: T tasks, K classes, N images.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.datasets import LabelledImages, read_split
from benchmarks.files import write_rows
from benchmarks.teaching import Teacher
from models.adapter import Adapter
from models.backbone import Backbone, Pooling, choose_device, load_backbone
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy, resolve
from models.strategies.values import Prediction, Task

BINS = 15  # of the expected calibration error; the usual number


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What decides a row, apart from the strategy and its seed."""

    data: str
    """Name of the data set's folder."""
    backbone: str
    image_size: int
    base_classes: int
    """Classes of the first task; 0 cuts all classes into equal tasks."""
    tasks: int
    """Tasks, the first one not counted where `base_classes` is set."""
    train_per_class: int
    test_per_class: int
    held_out_per_class: int
    """Images a class that are taken from the training images to calibrate scores on."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one strategy did with one order of the classes. Accuracies in 0..1."""

    strategy: str
    config: dict[str, Any]
    at_once: bool
    """Whether all tasks were learned as one."""
    seed: int
    last: float
    """Accuracy on all test images after the last task."""
    average: float
    """Mean over the tasks of the accuracy on all classes seen."""
    forgetting: float
    routing_accuracy: float | None
    """Share of the images with a functional synapse for which their own task's was; None without synapses."""
    passes: float
    """Forwards of the backbone an image, after the last task."""
    expected_calibration_error: float
    """After the last task, 15 bins."""
    novelty_auroc: float | None
    """Known against not yet learned classes, half-way through the tasks."""
    seconds_per_task: float
    predict_images_per_second: float
    """After the last task, batches of 64."""
    state_mb: float
    """Size of everything learned."""
    matrix: list[list[float]]
    """`R[i][j]`: accuracy on task j after task i."""
    seen: list[float] = field(default_factory=list)
    """Accuracy on all classes seen, after each task."""
    consolidate_every: int = 1
    """After how many tasks a strategy that consolidates does so, and after the last; 0 is never."""


class RememberingBackbone(Backbone):
    """A backbone that embeds the same images through the same sub-network only once.

    Test images are asked again after every task; most strategies' sub-networks stay as they are. Off while speed is
    measured.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone.name, backbone.vit, backbone.preprocessing)
        self.fingerprint = backbone.fingerprint
        self.background = backbone.background
        self.remembers = True
        self._known: dict[bytes, torch.Tensor] = {}

    @torch.inference_mode()
    def embed(
        self,
        images: torch.Tensor,
        adapter: Adapter | None = None,
        *,
        pooling: Pooling = "backbone",
        batch_size: int = 64,
    ) -> torch.Tensor:
        """Embed as `Backbone.embed` does, or remember."""
        if not self.remembers:
            return super().embed(images, adapter, pooling=pooling, batch_size=batch_size)
        digest = hashlib.blake2b(images.numpy().tobytes() + pooling.encode())
        for value in adapter.state_dict().values() if adapter is not None else ():
            digest.update(value.cpu().numpy().tobytes())
        key = digest.digest()
        if key not in self._known:
            self._known[key] = super().embed(
                images, adapter, pooling=pooling, batch_size=batch_size
            )
        return self._known[key]


@dataclass(frozen=True)
class Increment:
    """A task of the stream with its test images."""

    task: Task
    test_images: torch.Tensor
    test_labels: tuple[str, ...]


def make_stream(
    backbone: Backbone, train: LabelledImages, test: LabelledImages, protocol: Protocol, seed: int
) -> list[Increment]:
    """Cut a data set into tasks, its classes shuffled by the seed."""
    order = np.random.RandomState(seed).permutation(len(train.classes))
    first = protocol.base_classes
    parts = np.array_split(order[first:], protocol.tasks)
    groups = [order[:first], *parts] if first else parts
    held_out = protocol.held_out_per_class
    known, asked = preprocess(backbone, train), preprocess(backbone, test)
    stream = []
    for index, group in enumerate(groups, start=1):
        rows = rows_of(train, group)
        kept = np.concatenate([of_class[: len(of_class) - held_out] for of_class in rows])
        left = np.concatenate([of_class[len(of_class) - held_out :] for of_class in rows])
        shown = np.concatenate(rows_of(test, group))
        task = Task(
            index=index,
            images=known[kept],
            labels=names(train, kept),
            held_out_images=known[left] if held_out else None,
            held_out_labels=names(train, left),
            seed=seed,
        )
        stream.append(Increment(task, asked[shown], names(test, shown)))
    return stream


def preprocess(backbone: Backbone, data: LabelledImages) -> torch.Tensor:
    """Bring all images to the backbone's size, uint8 `(N, 3, S, S)`."""
    return torch.stack([backbone.preprocess(image) for image in data.images])


def rows_of(data: LabelledImages, group: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each class of a group."""
    return [np.flatnonzero(data.targets == k) for k in group]


def names(data: LabelledImages, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the labels of these rows. The number keeps two classes of the same name apart."""
    return tuple(f"{k:03d} {data.classes[k]}" for k in data.targets[rows])


def predict(strategy: Strategy[Any], shown: Sequence[Increment]) -> Prediction:
    """Predict the test images of these tasks in batches of 64."""
    parts = [strategy.predict(part) for task in shown for part in task.test_images.split(64)]
    return Prediction(
        probabilities=torch.cat([part.probabilities for part in parts]),
        novelty=torch.cat([part.novelty for part in parts]),
        currents=torch.cat([part.currents for part in parts]),
        thresholds=parts[0].thresholds,
        functional=torch.cat([part.functional for part in parts]),
        passes=torch.cat([part.passes for part in parts]),
    )


def measure(
    strategy: Strategy[Any],
    stream: Sequence[Increment],
    seed: int,
    console: Console,
    *,
    at_once: bool = False,
    consolidate_every: int = 1,
) -> Row:
    """Learn the stream, or all of it as one task, and measure after every task.

    A strategy that consolidates does so after every so many tasks and after the last one, or `NEVER`.
    """
    teacher = Teacher(strategy, every=consolidate_every)
    matrix: list[list[float]] = []
    seen: list[float] = []
    learning_s, auroc = 0.0, None
    if at_once:
        learning_s = teacher.teach(as_one([increment.task for increment in stream]))
    for i, increment in enumerate(stream):
        if not at_once:
            is_last = increment is stream[-1]
            learning_s += teacher.teach(increment.task, is_last=is_last)
        known = stream[: i + 1]
        prediction = predict(strategy, known)
        right = is_right(strategy, prediction, known)
        counts = [len(part.test_labels) for part in known]
        matrix.append([share(part) for part in right.split(counts)])
        seen.append(share(right))
        if i + 1 == len(stream) // 2 and not at_once:
            auroc = novelty_auroc(prediction, predict(strategy, stream[i + 1 :]))
        console.print(
            f"{strategy.name} seed {seed} task {i + 1}/{len(stream)}: seen {seen[-1]:.1%}, new "
            f"{matrix[-1][-1]:.1%}, {float(prediction.passes.float().mean()):.2f} passes, {learning_s:.0f} s",
            style="dim",
        )
    return Row(
        strategy=strategy.name,
        config=asdict(strategy.config),
        at_once=at_once,
        consolidate_every=consolidate_every,
        seed=seed,
        last=seen[-1],
        average=float(np.mean(seen)),
        forgetting=forgetting(matrix),
        routing_accuracy=routing_accuracy(strategy, prediction, stream),
        passes=float(prediction.passes.float().mean()),
        expected_calibration_error=calibration_error(prediction, right),
        novelty_auroc=auroc,
        seconds_per_task=learning_s / len(stream),
        predict_images_per_second=speed(strategy, stream[-1].test_images[:256]),
        state_mb=state_bytes(strategy) / 1e6,
        matrix=matrix,
        seen=seen,
    )


def state_bytes(strategy: Strategy[Any]) -> int:
    """Return the size of everything learned, in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in strategy.state_dict().values())


def speed(strategy: Strategy[Any], images: torch.Tensor) -> float:
    """Return how many images a second are predicted, in batches of 64, nothing remembered."""
    backbone = strategy.backbone
    if isinstance(backbone, RememberingBackbone):
        backbone.remembers = False
    started = time.perf_counter()
    for part in images.split(64):
        strategy.predict(part)
    seconds = time.perf_counter() - started
    if isinstance(backbone, RememberingBackbone):
        backbone.remembers = True
    return len(images) / seconds


def as_one(tasks: Sequence[Task]) -> Task:
    """Put all tasks together."""
    held_out = [task.held_out_images for task in tasks if task.held_out_images is not None]
    return Task(
        index=1,
        images=torch.cat([task.images for task in tasks]),
        labels=tuple(label for task in tasks for label in task.labels),
        held_out_images=torch.cat(held_out) if held_out else None,
        held_out_labels=tuple(label for task in tasks for label in task.held_out_labels),
        seed=tasks[0].seed,
    )


def is_right(
    strategy: Strategy[Any], prediction: Prediction, known: Sequence[Increment]
) -> torch.Tensor:
    """Tell for each image whether its label was the best answer among the classes seen so far, bool `(N,)`."""
    truth = torch.cat([strategy.targets(part.test_labels) for part in known])
    seen = torch.zeros(prediction.probabilities.shape[1], dtype=torch.bool)
    seen[truth] = True
    return prediction.probabilities.masked_fill(~seen, -1).argmax(dim=1) == truth


def share(right: torch.Tensor) -> float:
    """Return the share of a bool `(N,)` that is true, to four digits: what N images can tell."""
    return round(float(right.double().mean()), 4)


def forgetting(matrix: Sequence[Sequence[float]]) -> float:
    """Mean over the old tasks of the fall from their best accuracy to the last."""
    T = len(matrix)
    if T == 1:
        return 0.0
    return float(
        np.mean([max(matrix[i][j] for i in range(j, T)) - matrix[-1][j] for j in range(T - 1)])
    )


def routing_accuracy(
    strategy: Strategy[Any], prediction: Prediction, known: Sequence[Increment]
) -> float | None:
    """Share of the images with a functional synapse for which their own task's is among them."""
    tasks = torch.cat([torch.full((len(part.test_labels),), part.task.index) for part in known])
    own = tasks[:, None] == torch.tensor(strategy.synapse_tasks_, dtype=torch.int64)
    routed = prediction.functional.any(dim=1)
    if not routed.any():
        return None
    return float((prediction.functional & own).any(dim=1)[routed].float().mean())


def calibration_error(prediction: Prediction, right: torch.Tensor) -> float:
    """Expected calibration error: mean gap between score and accuracy over equal bins of the score.

    Reference:
        Guo et al., 2017, https://arxiv.org/abs/1706.04599.
    """
    scores, bins = binned_scores(prediction)
    gaps = [
        abs(float(right[bins == b].float().mean()) - float(scores[bins == b].mean()))
        * int((bins == b).sum())
        for b in bins.unique().tolist()
    ]
    return math.fsum(gaps) / len(right)


def binned_scores(prediction: Prediction) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probability of each answer, `(N,)`, and its bin of the calibration error, int64 `(N,)`."""
    scores = prediction.probabilities.amax(dim=1)
    return scores, (scores * BINS).long().clamp(max=BINS - 1)


def novelty_auroc(known: Prediction, unknown: Prediction) -> float:
    """Probability that an image of an unknown class looks newer than one of a known class."""
    novelty = torch.cat((known.novelty, unknown.novelty)).numpy()
    is_new = np.repeat([0, 1], [len(known.novelty), len(unknown.novelty)])
    return float(roc_auc_score(is_new, novelty))


def respelled(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it would be written today, if it was when `artsy` meant other strategies."""
    strategy, own = resolve(row["strategy"], row["config"])
    if strategy.name == row["strategy"]:
        return row
    config = json.loads(json.dumps(asdict(strategy.config_type(**own))))
    return row | {"strategy": strategy.name, "config": config}


class Results:
    """The rows on disk: `{"protocol": …, "machine": …, "rows": […]}`, written after every row."""

    def __init__(self, path: Path | None, protocol: Protocol) -> None:
        """Read the rows of an earlier run.

        Raises:
            ValueError: If the file holds another protocol's rows.
        """
        self.path, self.protocol = path, protocol
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            kept = json.loads(path.read_text())
            if kept["protocol"] != asdict(protocol):
                raise ValueError(f"{path} holds another protocol's rows: choose another --out.")
            self.rows = [respelled(row) for row in kept["rows"]]

    def has(
        self,
        strategy: str,
        config: dict[str, Any],
        seed: int,
        *,
        at_once: bool,
        consolidate_every: int = 1,
    ) -> bool:
        """Tell whether this row was measured before."""
        row = {"strategy": strategy, "config": config, "seed": seed, "at_once": at_once}
        asked = json.loads(json.dumps(row))
        return any(
            all(row[key] == asked[key] for key in asked)
            and row.get("consolidate_every", 1) == consolidate_every
            for row in self.rows
        )

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(asdict(row))
        if self.path is None:
            return
        machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
        if torch.cuda.is_available():
            machine = torch.cuda.get_device_name()
        write_rows(self.path, {"protocol": asdict(self.protocol), "machine": machine}, self.rows)


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print one line a configuration: mean and, over several seeds, standard deviation."""
    table = Table(title="Class-incremental")
    columns = (
        "last",
        "average",
        "forgetting",
        "routing",
        "passes",
        "ECE",
        "AUROC",
        "s a task",
        "images/s",
    )
    table.add_column("strategy")
    for column in columns:
        table.add_column(column, justify="right")
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        every = row.get("consolidate_every", 1)
        key = json.dumps([row["strategy"], row["config"], row["at_once"], every])
        groups.setdefault(key, []).append(row)
    for group in groups.values():
        table.add_row(
            group[0]["strategy"] + suffix(group[0]),
            *(percent(group, key) for key in ("last", "average", "forgetting", "routing_accuracy")),
            plain(group, "passes", 2),
            percent(group, "expected_calibration_error"),
            percent(group, "novelty_auroc"),
            plain(group, "seconds_per_task", 1),
            plain(group, "predict_images_per_second", 0),
        )
    console.print(table)


def suffix(row: dict[str, Any]) -> str:
    """Return what a row was learned like, if not as usual."""
    every = row.get("consolidate_every", 1)
    told = ", all at once" if row["at_once"] else ""
    if every != 1:
        told += f", consolidated every {every} tasks" if every else ", never consolidated"
    return told


def percent(rows: Sequence[dict[str, Any]], key: str) -> str:
    """Write the mean of a value as per cent, with the standard deviation over several rows."""
    values = [100 * row[key] for row in rows if row[key] is not None]
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def plain(rows: Sequence[dict[str, Any]], key: str, digits: int) -> str:
    """Write the mean of a value, over the rows that have it: times of a run that was paused are none."""
    return f"{np.mean([row[key] for row in rows if row[key] is not None]):.{digits}f}"


def parse_strategies(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read `artsy,ease` or `artsy:epochs=10:threshold=0.5,ranpac`.

    Example:
        >>> parse_strategies("artsy:epochs=10:augmentation=none,ease")
        [('artsy', {'epochs': 10, 'augmentation': 'none'}), ('ease', {})]
    """
    strategies = []
    for entry in text.split(","):
        name, *settings = entry.strip().split(":")
        config = {}
        for setting in settings:
            key, _, value = setting.partition("=")
            try:
                config[key] = json.loads(value)
            except ValueError:
                config[key] = value
        strategies.append((name, config))
    return strategies


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Compare strategies class-incrementally.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="see benchmarks.datasets")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    parser.add_argument(
        "--weights", type=Path, help="safetensors file of the backbone, or a folder of them"
    )
    parser.add_argument("--image-size", type=int, help="pixels; the backbone's own unless set")
    parser.add_argument(
        "--strategies", default="artsy,ease,ranpac,simplecil", help="name[:key=value]...,name..."
    )
    parser.add_argument(
        "--at-once", default="", metavar="NAMES", help="of these, what learns all tasks as one"
    )
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument(
        "--base-classes", type=int, default=0, help="classes of a first, larger task"
    )
    parser.add_argument("--train-per-class", type=int, default=100)
    parser.add_argument("--test-per-class", type=int, default=40)
    parser.add_argument(
        "--held-out-per-class", type=int, default=0, help="of the train images, to calibrate on"
    )
    parser.add_argument(
        "--consolidate-every",
        type=int,
        default=1,
        metavar="TASKS",
        help="of a strategy that consolidates; it does after the last task, too; 0 is never",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1993])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--out", type=Path, help="JSON file of the rows; finished rows are not run again"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    console = Console()
    backbone = RememberingBackbone(
        load_backbone(
            arguments.backbone, weights=arguments.weights, image_size=arguments.image_size
        )
    ).to(choose_device(arguments.device))
    protocol = Protocol(
        data=arguments.data.name,
        backbone=backbone.name,
        image_size=backbone.image_size,
        base_classes=arguments.base_classes,
        tasks=arguments.tasks,
        train_per_class=arguments.train_per_class,
        test_per_class=arguments.test_per_class,
        held_out_per_class=arguments.held_out_per_class,
    )
    results = Results(arguments.out, protocol)
    train = read_split(arguments.data, "train", per_class=arguments.train_per_class)
    test = read_split(arguments.data, "test", per_class=arguments.test_per_class)
    for seed in arguments.seeds:
        stream = make_stream(backbone, train, test, protocol, seed)
        for name, config in parse_strategies(arguments.strategies):
            strategy = create_strategy(name, config, backbone)
            at_once = name in arguments.at_once.split(",")
            every = arguments.consolidate_every if strategy.consolidates else 1
            asked = strategy.name, asdict(strategy.config), seed
            if not results.has(*asked, at_once=at_once, consolidate_every=every):
                row = measure(
                    strategy, stream, seed, console, at_once=at_once, consolidate_every=every
                )
                results.add(row)
    show(results.rows, console)


if __name__ == "__main__":
    main()
