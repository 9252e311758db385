"""Four effects of human memory in networks under metaplasticity, on single MNIST digits, one class an item.

    python -m benchmarks.metaplasticity serial-position|hebb|poisoning|frequency --data DIR [--seeds 0 1 2] [--quick]

*Serial position*: ten items in a row; which are remembered? *Hebb*: the same row nine times over. *Poisoning*: after
that one more row with permuted labels. *Frequency*: item i is shown i times, in an order that has nothing to do with
it. Three networks see the same images in the same order: *hybrid* (flexibility drawn from U(0, 1)), *conventional* (1
everywhere: plain SGD) and *stable* (0.3 everywhere).

As in the paper and its published code: items come one at a time, five epochs each at batch 1024, together with as many
images of all the other items, later ones included, under wrong labels; three fully connected layers, Glorot
initialised, on frozen convolutional features; plain SGD. What differs: single digits instead of pairs of them; the
features are two random convolutions (He initialised, standardised by images that no item uses) instead of AlexNet's,
pre-trained on ImageNet, and the layers are 256 wide instead of 4096, so that it runs anywhere in minutes; and so rate
and scale are our own: 0.03, and s by `MetaplasticityRule.calibrate` instead of 4e5.

Shapes: N images, D features, K items, P presentations.

Reference:
    Cho, Lee, Baek and Paik, 2025, https://arxiv.org/abs/2407.07133.
"""

import argparse
import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.datasets import read_mnist
from models.fitting import Schedule, derive_seed, fit
from models.metaplasticity import MetaplasticityRule

K = 10
FLEXIBILITY: dict[str, float | None] = {"hybrid": None, "conventional": 1.0, "stable": 0.3}
REPETITIONS = 9
CHANCE = 0.05  # an item is remembered if fewer of its accuracies under shuffled labels are higher; the paper's level
SHUFFLES = 1000


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What decides a run, apart from its seed."""

    images_per_item: int = 2000
    """The paper's."""
    test_per_item: int = 800
    epochs: int = 5
    """The paper's."""
    batch_size: int = 1024
    """The paper's."""
    learning_rate: float = 0.03
    """Ours; chosen by trial, like the two below, so that an item is learned in one presentation."""
    relative_scale: float = 1.0
    """s times the median displacement after the first item."""
    width: int = 256
    """Of the two hidden layers."""


QUICK = Protocol(images_per_item=400, test_per_item=100, batch_size=205, width=128)


@dataclass(frozen=True, kw_only=True)
class Items:
    """Features of the digits and what they show."""

    train: Tensor
    """`(N, D)`."""
    targets: Tensor
    """`(N,)`."""
    test: Tensor
    truth: Tensor


@dataclass(frozen=True)
class Presentation:
    """One item, and what it is called: its own digit, unless it is poisoned."""

    item: int
    label: int


def read_items(data: Path, protocol: Protocol) -> Items:
    """Read MNIST and take features: the first images of each digit train, a few of the last standardise."""
    images, targets = read_mnist(data, "train")
    test, truth = read_mnist(data, "test")
    first = rows_of(targets, slice(protocol.images_per_item))
    aside = rows_of(targets, slice(-100, None))
    asked = rows_of(truth, slice(protocol.test_per_item))
    network = convolutions()
    reference = embed(network, images[aside])
    mean, spread = reference.mean(dim=0), reference.std(dim=0) + 1e-3
    return Items(
        train=(embed(network, images[first]) - mean) / spread,
        targets=torch.from_numpy(targets[first]),
        test=(embed(network, test[asked]) - mean) / spread,
        truth=torch.from_numpy(truth[asked]),
    )


def rows_of(targets: NDArray[np.int64], which: slice) -> NDArray[np.int64]:
    """Return the rows of `which` images of every class."""
    return np.concatenate([np.flatnonzero(targets == k)[which] for k in range(K)])


def convolutions() -> nn.Sequential:
    """Return the frozen random features: `(B, 1, 28, 28)` to `(B, 512)`, the same for every seed."""
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3),
        nn.Flatten(),
    )
    draw(network, torch.Generator().manual_seed(0), lambda n_in, n_out: math.sqrt(2 / n_in))
    return network.requires_grad_(False)


def head(n_features: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """Return the three layers that learn: Glorot's normal initialisation, no bias to start with."""
    network = nn.Sequential(
        nn.Linear(n_features, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, K),
    )
    draw(network, generator, lambda n_in, n_out: math.sqrt(2 / (n_in + n_out)))
    return network


def draw(
    network: nn.Module, generator: torch.Generator, deviation: Callable[[int, int], float]
) -> None:
    """Draw every weight from a normal distribution of this deviation by inputs and outputs; biases are 0."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
            if parameter.ndim > 1:
                inputs, outputs = parameter[0].numel(), len(parameter)
                parameter.normal_(std=deviation(inputs, outputs), generator=generator)


def embed(network: nn.Module, images: NDArray[np.uint8]) -> Tensor:
    """Take the features of images `(N, 28, 28)`."""
    pixels = torch.from_numpy(images)[:, None]
    return torch.cat([network(part / 255) for part in pixels.split(500)])


class Memory:
    """A network that is shown items."""

    def __init__(self, kind: str, items: Items, protocol: Protocol, seed: int) -> None:
        self.items = items
        self.protocol = protocol
        self.seed = seed
        self.n_shown = 0
        generator = torch.Generator().manual_seed(derive_seed(seed, 1))
        self.network = head(items.train.shape[1], protocol.width, generator)
        named = self.network.named_parameters()
        weights = {name: parameter for name, parameter in named if parameter.ndim > 1}
        value, flexibility = FLEXIBILITY[kind], None
        if value is not None:
            flexibility = {name: torch.full_like(w.data, value) for name, w in weights.items()}
        self.rule = MetaplasticityRule(weights, flexibility=flexibility, generator=generator)

    def show(self, presentation: Presentation) -> None:
        """Learn one item, among as many images of the others under wrong labels."""
        seed = derive_seed(self.seed, 2, self.n_shown)  # the same for all kinds of networks
        features, labels = mixed_with_others(
            self.items, presentation, torch.Generator().manual_seed(seed)
        )
        self.rule.start_task()
        fit(
            self.network.parameters(),
            features,
            labels,
            lambda x, y: F.cross_entropy(self.network(x), y),
            Schedule(
                epochs=self.protocol.epochs,
                batch_size=self.protocol.batch_size,
                learning_rate=self.protocol.learning_rate,
                weight_decay=0,
                momentum=0,
                decay="none",
            ),
            seed=seed,
            device=torch.device("cpu"),
            rule=self.rule,
        )
        self.rule.calibrate(self.protocol.relative_scale)
        self.n_shown += 1

    @torch.no_grad()
    def answers(self) -> Tensor:
        """Return what it takes the test images for, `(N,)`."""
        answers: Tensor = self.network(self.items.test).argmax(dim=1)
        return answers

    def accuracies(self) -> list[float]:
        """Return the accuracy on each item, in the order of the digits."""
        right = self.answers() == self.items.truth
        return [float(right[self.items.truth == k].float().mean()) for k in range(K)]

    def n_remembered(self) -> int:
        """Count the items that are answered better than with shuffled labels.

        Always answering the newest item gives it an accuracy of 1, but does not count.
        """
        answers, rng = self.answers(), np.random.default_rng(self.seed)
        count = 0
        for k in range(K):
            given, asked = answers == k, self.items.truth == k
            right, n_given, n_asked = (int(x.sum()) for x in (given & asked, given, asked))
            others = len(answers) - n_given
            shuffled = rng.hypergeometric(n_given, others, n_asked, SHUFFLES)
            # Ties count as chance (the authors' code leaves them out): a lone answer given always ties with itself.
            count += int((shuffled >= right).mean() < CHANCE)
        return count


def mixed_with_others(
    items: Items, presentation: Presentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return an item's images under its label, and as many of the other items under labels not theirs.

    A wrong label is neither the image's own nor that of the item shown; all of them occur equally often.
    """
    own = (items.targets == presentation.item).nonzero().squeeze(1)
    rows, labels = [own], [torch.full_like(own, presentation.label)]
    others = [k for k in range(K) if k != presentation.item]
    n_each = round(len(own) / len(others))
    for k in others:
        candidates = (items.targets == k).nonzero().squeeze(1)
        rows.append(candidates[torch.randperm(len(candidates), generator=generator)[:n_each]])
        wrong = torch.tensor([other for other in others if other != k])
        shift = int(torch.randint(len(wrong), (1,), generator=generator))
        labels.append(wrong[(torch.arange(n_each) + shift) % len(wrong)])
    return items.train[torch.cat(rows)], torch.cat(labels)


def serial_position(items: Items, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Show ten items once each; accuracies by position afterwards."""
    order = in_order(seed)
    result: dict[str, Any] = {}
    for kind in FLEXIBILITY:
        memory = Memory(kind, items, protocol, seed)
        for k in order:
            memory.show(Presentation(k, k))
        accuracies = memory.accuracies()
        result[kind] = {
            "by_position": [accuracies[k] for k in order],
            "remembered": memory.n_remembered(),
        }
    return result


def hebb(items: Items, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Show the row again and again; mean accuracy after each time."""
    result = {}
    for kind in FLEXIBILITY:
        memory = Memory(kind, items, protocol, seed)
        result[kind] = {"by_repetition": repeat(memory, in_order(seed))}
    return result


def poisoning(items: Items, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Show the row nine times, then once with permuted labels; who believes them?"""
    order = in_order(seed)
    false = dict(zip(order, order[1:] + order[:1], strict=True))
    as_told = torch.tensor([false[k] for k in range(K)])[items.truth]
    result: dict[str, Any] = {}
    for kind in FLEXIBILITY:
        memory = Memory(kind, items, protocol, seed)
        before = repeat(memory, order)[-1]
        for k in order:
            memory.show(Presentation(k, false[k]))
        result[kind] = {
            "before": before,
            "after": float(np.mean(memory.accuracies())),
            "believed": float((memory.answers() == as_told).float().mean()),
            "remembered": memory.n_remembered(),
        }
    return result


def frequency(items: Items, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Show one item once, another twice, ... in mixed order; accuracies by frequency."""
    order = in_order(seed)
    sequence = mixed_sequence(seed)
    when = [float(np.mean(np.flatnonzero(np.equal(sequence, rank)))) for rank in range(K)]
    result: dict[str, Any] = {}
    for kind in FLEXIBILITY:
        memory = Memory(kind, items, protocol, seed)
        for rank in sequence:
            memory.show(Presentation(order[rank], order[rank]))
        accuracies = memory.accuracies()
        by_frequency = [accuracies[k] for k in order]
        result[kind] = {
            "by_frequency": by_frequency,
            "correlation_frequency": correlation(by_frequency, range(K)),
            "correlation_when": correlation(by_frequency, when),
        }
    return result


def repeat(memory: Memory, order: Sequence[int]) -> list[float]:
    """Show the row nine times; return the mean accuracy after each."""
    means = []
    for _ in range(REPETITIONS):
        for k in order:
            memory.show(Presentation(k, k))
        means.append(float(np.mean(memory.accuracies())))
    return means


def in_order(seed: int) -> list[int]:
    """Return the digits in an order of the seed's own."""
    order: list[int] = np.random.default_rng(seed).permutation(K).tolist()
    return order


def mixed_sequence(seed: int) -> list[int]:
    """Return 0 once, 1 twice, ... 9 ten times, mixed so that frequency and mean position do not correlate."""
    rng = np.random.default_rng([seed, 1])
    deck = np.repeat(np.arange(K), np.arange(1, K + 1))
    while True:
        rng.shuffle(deck)
        when = [float(np.flatnonzero(deck == rank).mean()) for rank in range(K)]
        if abs(correlation(when, range(K))) < 0.1:
            return [int(rank) for rank in deck]


def correlation(values: Sequence[float], others: Sequence[float]) -> float:
    """Spearman's rank correlation; ties, which are rare here, in order of appearance."""
    ranks = [np.argsort(np.argsort(x, kind="stable"), kind="stable") for x in (values, others)]
    n, apart = len(values), ranks[0] - ranks[1]
    return 1 - 6 * float(np.square(apart).sum()) / (n * (n * n - 1))


@dataclass(frozen=True)
class Experiment:
    """One of the four, and what the paper says of it."""

    run: Callable[[Items, Protocol, int], dict[str, Any]]
    listed: str
    """What the values of a list in the result are listed by."""
    paper: str


EXPERIMENTS = {
    "serial-position": Experiment(
        serial_position,
        "position",
        "hybrid keeps first and last items, conventional only the last, stable only the first",
    ),
    "hebb": Experiment(hebb, "time", "the hybrid's accuracy rises when the sequence repeats"),
    "poisoning": Experiment(
        poisoning, "", "the hybrid keeps the true labels, conventional does not"
    ),
    "frequency": Experiment(
        frequency, "shown", "the hybrid's accuracy follows how often an item was shown, not when"
    ),
}


def show(name: str, runs: Sequence[dict[str, Any]], console: Console) -> None:
    """Print means over the seeds, and for single values the deviation too."""
    experiment = EXPERIMENTS[name]
    table = Table(title=f"{name}, {len(runs)} seeds", caption=f"The paper: {experiment.paper}.")
    table.add_column("")
    for kind in FLEXIBILITY:
        table.add_column(kind, justify="right")
    for key in runs[0]["hybrid"]:
        values = np.asarray([[run[kind][key] for kind in FLEXIBILITY] for run in runs])
        means, spreads = values.mean(axis=0), values.std(axis=0)
        if values.ndim == 3:
            for i, row in enumerate(means.T, start=1):
                table.add_row(f"{experiment.listed} {i}", *(f"{mean:.2f}" for mean in row))
        else:
            cells = (f"{m:.2f} ± {d:.2f}" for m, d in zip(means, spreads, strict=True))
            table.add_row(key.replace("_", " "), *cells)
    console.print(table)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Show four effects of metaplasticity on MNIST.")
    parser.add_argument("experiment", choices=tuple(EXPERIMENTS))
    parser.add_argument("--data", type=Path, required=True, help="folder with MNIST's idx files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="a fifth of the images: a smoke test")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the values here as JSON")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    protocol = QUICK if arguments.quick else Protocol()
    items = read_items(arguments.data, protocol)
    experiment = EXPERIMENTS[arguments.experiment]
    runs = [experiment.run(items, protocol, seed) for seed in arguments.seeds]
    show(arguments.experiment, runs, Console())
    if arguments.out is not None:
        result = {
            "command": f"python -m benchmarks.metaplasticity {arguments.experiment}",
            "machine": f"{platform.machine()}, {arguments.threads} threads",
            "protocol": asdict(protocol),
            "paper": experiment.paper,
            "seeds": arguments.seeds,
            "runs": runs,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
