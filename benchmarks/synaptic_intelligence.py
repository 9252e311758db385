"""The three experiments of the Synaptic Intelligence paper, with and without the penalty.

    python -m benchmarks.synaptic_intelligence split-mnist|permuted-mnist|cifar --data DIR [--seeds 0 1 2] [--quick]

Network, optimiser, epochs and constants are the paper's and its published code's: Glorot's uniform initialisation, zero
biases, pixels in 0..1, Adam at 1e-3. In split MNIST and CIFAR the task is known and only its own outputs compete
(masked softmax), and the last layer starts at zero. `cifar` wants `cifar-10-batches-py` in the folder of CIFAR-100;
without, its first task is ten more classes of CIFAR-100, and the result does not compare with the paper's.

Shapes: B batch, N images, T tasks.

Reference:
    Zenke, Poole and Ganguli, 2017, https://arxiv.org/abs/1703.04200.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.datasets import read_cifar10, read_mnist, read_split
from models.backbone import choose_device
from models.fitting import NO_RULE, PlasticityRule, derive_seed, seeded
from models.path_integral import PathIntegral


@dataclass(frozen=True)
class Images:
    """Images and their targets, all in memory."""

    inputs: Tensor
    """Float in 0..1, `(N, ...)`."""
    targets: Tensor
    """int64 `(N,)`, indexes of outputs."""

    def select(self, first: int, last: int) -> "Images":
        """Return the images of the classes from `first` up to, without, `last`."""
        rows = ((self.targets >= first) & (self.targets < last)).nonzero().squeeze(1)
        return Images(self.inputs[rows], self.targets[rows])

    def cut(self, n: int | None) -> "Images":
        """Return the first `n` images; None is all."""
        return Images(self.inputs[:n], self.targets[:n])

    def to(self, device: torch.device) -> "Images":
        """Return the same on a device."""
        return Images(self.inputs.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Increment:
    """One task."""

    train: Images
    test: Images
    outputs: tuple[int, int]
    """First output that competes, and the one after the last."""
    order: Tensor | None = None
    """A permutation of the pixels; None leaves them in place."""

    def inputs(self, images: Images) -> Tensor:
        """Return what the network sees of `images`."""
        return images.inputs if self.order is None else images.inputs[:, self.order]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment of the paper."""

    read: Callable[[Path, torch.device, int | None], tuple[Images, Images]]
    increments: Callable[[Images, Images, int, int], list[Increment]]
    """From train and test images, the number of tasks and the seed."""
    network: Callable[[], nn.Sequential]
    zero_last: bool
    """Whether the last layer starts at zero."""
    tasks: int
    epochs: int
    batch_size: int
    keep_optimizer: bool
    """Whether Adam's state lives through all tasks."""
    damping: float
    strength: float
    paper_means: tuple[str, str]
    """Accuracy over all tasks after the last, without and with the penalty."""
    train_images: int | None = None
    """Most images to read; None is all."""

    def shortened(self) -> "Experiment":
        """Return a version that only shows that everything works."""
        return replace(self, tasks=min(3, self.tasks), epochs=1, train_images=5000)


def run(
    experiment: Experiment,
    increments: Sequence[Increment],
    *,
    strength: float,
    seed: int,
    device: torch.device,
) -> list[list[float]]:
    """Learn the tasks in turn.

    Returns:
        After each task the accuracy on every task, learned or not, `T` rows of `T`.
    """
    with seeded(derive_seed(seed, 1), device):
        network = initialised(experiment).to(device)
        rule: PlasticityRule = NO_RULE
        integral = None
        if strength > 0:
            rule = integral = PathIntegral(
                dict(network.named_parameters()), damping=experiment.damping, strength=strength
            )
        optimizer = adam(network)
        generator = torch.Generator().manual_seed(derive_seed(seed, 2))
        rows = []
        for increment in increments:
            if not experiment.keep_optimizer:
                optimizer = adam(network)
            learn(network, increment, experiment, optimizer, rule, generator)
            if integral is not None:
                integral.consolidate()
            rows.append([accuracy(network, other) for other in increments])
    return rows


def learn(
    network: nn.Sequential,
    increment: Increment,
    experiment: Experiment,
    optimizer: torch.optim.Optimizer,
    rule: PlasticityRule,
    generator: torch.Generator,
) -> None:
    """Train on one task."""
    network.train()
    inputs = increment.inputs(increment.train)
    first, last = increment.outputs
    targets = increment.train.targets - first
    for _ in range(experiment.epochs):
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for rows in order.split(experiment.batch_size):
            loss = F.cross_entropy(network(inputs[rows])[:, first:last], targets[rows])
            optimizer.zero_grad()
            loss.backward()
            rule.before_step()
            optimizer.step()
            rule.after_step()


@torch.no_grad()
def accuracy(network: nn.Sequential, increment: Increment) -> float:
    """Return the accuracy on a task's test images, over its own outputs."""
    network.eval()
    first, last = increment.outputs
    batches = increment.inputs(increment.test).split(2000)
    answers = torch.cat([network(batch)[:, first:last].argmax(dim=1) for batch in batches])
    return float((answers + first == increment.test.targets).float().mean())


def adam(network: nn.Module) -> torch.optim.Optimizer:
    """Return the paper's optimiser, in torch's version that passes over the weights once."""
    return torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)


def initialised(experiment: Experiment) -> nn.Sequential:
    """Build the network as Keras, which the paper used, would: Glorot's uniform initialisation, zero biases."""
    network = experiment.network()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
    if experiment.zero_last:
        nn.init.zeros_(cast("nn.Linear", network[-1]).weight)
    return network


def perceptron(width: int) -> nn.Sequential:
    """Two hidden layers: `(B, 784)` to `(B, 10)`."""
    return nn.Sequential(
        nn.Linear(784, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def convolutional() -> nn.Sequential:
    """The network for CIFAR: `(B, 3, 32, 32)` to `(B, 60)`."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * 6 * 6, 512),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(512, 60),
    )


def mnist(data: Path, device: torch.device, n: int | None) -> tuple[Images, Images]:
    """Read MNIST as vectors `(N, 784)`."""
    both = []
    for split in ("train", "test"):
        images, targets = read_mnist(data, split)
        inputs = torch.from_numpy(images[:n]).flatten(1) / 255
        both.append(Images(inputs, torch.from_numpy(targets[:n])).to(device))
    return both[0], both[1]


def cifar(data: Path, device: torch.device, n: int | None) -> tuple[Images, Images]:
    """Read CIFAR-10 as classes 0 to 9 and CIFAR-100 after it, `(N, 3, 32, 32)`."""
    has_ten = (data / "cifar-10-batches-py").is_dir()
    both = []
    for split in ("train", "test"):
        hundred = read_split(data, split)
        shown, targets = np.stack(hundred.images), hundred.targets
        if has_ten:
            ten = read_cifar10(data, split)
            shown = np.concatenate([np.stack(ten.images), shown])
            targets = np.concatenate([ten.targets, targets + 10])
        rows = np.flatnonzero(targets < 60)
        if n is not None:
            rows = np.random.default_rng(0).permutation(rows)[:n]
        inputs = torch.from_numpy(shown[rows]).permute(0, 3, 1, 2).contiguous() / 255
        both.append(Images(inputs, torch.from_numpy(targets[rows])).to(device))
    return both[0], both[1]


def split_by(n_classes: int) -> Callable[[Images, Images, int, int], list[Increment]]:
    """Return a function that cuts the classes into tasks of `n_classes`, in their usual order."""

    def split(train: Images, test: Images, n_tasks: int, seed: int) -> list[Increment]:
        edges = [(t * n_classes, (t + 1) * n_classes) for t in range(n_tasks)]
        return [Increment(train.select(*edge), test.select(*edge), edge) for edge in edges]

    return split


def permuted(train: Images, test: Images, n_tasks: int, seed: int) -> list[Increment]:
    """Return the same images again and again, from the second task on with permuted pixels."""
    generator = torch.Generator().manual_seed(derive_seed(seed, 3))
    orders = [torch.randperm(784, generator=generator) for _ in range(n_tasks - 1)]
    return [Increment(train, test, (0, 10), order) for order in (None, *orders)]


EXPERIMENTS = {
    "split-mnist": Experiment(
        read=mnist,
        increments=split_by(2),
        network=lambda: perceptron(256),
        zero_last=True,
        tasks=5,
        epochs=10,
        batch_size=64,
        keep_optimizer=False,
        damping=1e-3,
        strength=1.0,
        paper_means=("first tasks at chance", "97 to 100 %"),
    ),
    "permuted-mnist": Experiment(
        read=mnist,
        increments=permuted,
        network=lambda: perceptron(2000),
        zero_last=False,
        tasks=10,
        epochs=20,
        batch_size=256,
        keep_optimizer=True,
        damping=0.1,
        strength=0.1,
        paper_means=("57.4 %", "96.9 %"),
    ),
    "cifar": Experiment(
        read=cifar,
        increments=split_by(10),
        network=convolutional,
        zero_last=True,
        tasks=6,
        epochs=60,
        batch_size=256,
        keep_optimizer=False,
        damping=1e-3,
        strength=0.1,
        paper_means=("62.5 %", "72.0 %"),
    ),
}


def show(name: str, result: dict[str, Any], console: Console) -> None:
    """Print the accuracy on each task after the last one, mean and deviation over the seeds."""
    experiment = EXPERIMENTS[name]
    runs = result["runs"]
    strengths = sorted({run["strength"] for run in runs})
    shortened = ", shortened" if result["shortened"] else ""
    table = Table(title=f"{name}, {len(result['seeds'])} seeds{shortened}")
    table.add_column("after the last task")
    for c in strengths:
        table.add_column(f"c = {c:g}", justify="right")
    last = {
        c: np.asarray([r["accuracies"][-1] for r in runs if r["strength"] == c]) for c in strengths
    }
    for t in range(len(runs[0]["accuracies"])):
        table.add_row(f"task {t + 1}", *(percent(last[c][:, t]) for c in strengths))
    table.add_section()
    table.add_row("mean", *(percent(last[c].mean(axis=1)) for c in strengths))
    table.add_row("mean in the paper", *(experiment.paper_means[c > 0] for c in strengths))
    console.print(table)


def percent(values: NDArray[np.float64]) -> str:
    """Write a mean and its deviation over the seeds."""
    return f"{np.mean(values):.1%} ± {100 * np.std(values):.1f}"


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Synaptic Intelligence on the paper's tasks.")
    parser.add_argument("experiment", choices=tuple(EXPERIMENTS))
    parser.add_argument("--data", type=Path, required=True, help="folder with the images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="few images, three tasks, one epoch")
    parser.add_argument("--tasks", type=int, help="instead of the paper's number")
    parser.add_argument("--epochs", type=int, help="a task, instead of the paper's number")
    parser.add_argument(
        "--strengths", type=float, nargs="+", help="instead of 0 and the paper's; 0 is none"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=Path, help="write the values here as JSON")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    paper = EXPERIMENTS[arguments.experiment]
    experiment = paper.shortened() if arguments.quick else paper
    experiment = replace(
        experiment,
        tasks=arguments.tasks or experiment.tasks,
        epochs=arguments.epochs or experiment.epochs,
    )
    console = Console()
    train, test = experiment.read(arguments.data, device, experiment.train_images)
    runs = []
    for seed in arguments.seeds:
        increments = experiment.increments(train, test, experiment.tasks, seed)
        for strength in arguments.strengths or (0.0, experiment.strength):
            started = time.perf_counter()
            accuracies = run(experiment, increments, strength=strength, seed=seed, device=device)
            seconds = time.perf_counter() - started
            runs.append(
                {"seed": seed, "strength": strength, "accuracies": accuracies, "seconds": seconds}
            )
            mean = np.mean(accuracies[-1])
            console.print(f"seed {seed}, c = {strength:g}: mean {mean:.1%}, {seconds:.0f} s")
    result = {
        "command": f"python -m benchmarks.synaptic_intelligence {arguments.experiment}",
        "machine": f"{platform.machine()}, {arguments.threads} threads, {device.type}",
        "tasks": experiment.tasks,
        "epochs": experiment.epochs,
        "train_images": len(train.inputs),
        "shortened": experiment != paper,
        "paper_means": paper.paper_means,
        "seeds": arguments.seeds,
        "runs": runs,
    }
    show(arguments.experiment, result, console)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
