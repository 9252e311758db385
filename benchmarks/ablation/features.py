"""The slow step: train every sub-network and every functional adapter, and keep what images look like under them.

What was trained lies in one file a task and adapter, so an interrupted run goes on where it was. With all files there,
neither images nor training are needed any more.

Shapes: N train images, M test images of all tasks, T tasks, D feature width. Images are in the order of the tasks, and
classes are numbered in that order too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.class_incremental import Increment
from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian
from models.strategies.subnetwork import train_subnetwork

CHAINS = ("mean", "last")
"""How the functional adapter goes on after a task: to the running mean of the tasks' adapters, or to the newest."""
PRODUCT = "own"
"""Name of the chain that `artsy` itself makes with its default configuration."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Labels:
    """What the images show. Tasks count from 0."""

    train_targets: Tensor
    """int64 `(N,)`."""
    train_tasks: Tensor
    test_targets: Tensor
    """int64 `(M,)`."""
    test_tasks: Tensor

    @property
    def n_tasks(self) -> int:
        """T."""
        return int(self.train_tasks.max()) + 1

    @property
    def class_tasks(self) -> Tensor:
        """Task of each class, int64 `(K,)`."""
        tasks = torch.zeros(int(self.train_targets.max()) + 1, dtype=torch.int64)
        tasks[self.train_targets] = self.train_tasks
        return tasks

    def classes(self, t: int) -> Tensor:
        """Return the classes of a task, int64 `(C,)`, next to one another."""
        return (self.class_tasks == t).nonzero().squeeze(1)

    def local_targets(self, t: int) -> Tensor:
        """Return the targets of a task's train images, counted from its first class, `(N_t,)`."""
        return self.train_targets[self.train_tasks == t] - self.classes(t)[0]


@dataclass(frozen=True)
class Chain:
    """Features under the functional adapter, one entry a task; its state is the one after that task."""

    before: list[Tensor]
    """The task's train images under the state before it, `(N_t, D)`. None of the first: there is nothing to carry."""
    seen: list[Tensor]
    """Train images of this task and all before. Those before are gone by then: only for the bound."""
    test: list[Tensor]
    """Test images of this task and all before."""


@dataclass(frozen=True)
class Features:
    """All images of one seed under all adapters."""

    labels: Labels
    train: Tensor
    """`(T + 1, N, D)`, branch 0 the frozen backbone. NaN for images that were gone when the branch was made, so that
    whoever uses them finds out."""
    test: Tensor
    """`(T + 1, M, D)`."""
    chains: dict[str, Chain]
    silent_train: list[Tensor]
    """Each task's train images under the adapter that the `mean` chain trained on it, from the state before."""
    silent_test: Tensor
    """All test images under each of those, `(T, M, D)`."""
    mirrored: Tensor
    """All test images, mirrored, under the last state of the `mean` chain, `(M, D)`."""
    product: Tensors
    """Accuracy on all classes seen and passes after each task, `(T,)` each, of `artsy` itself; empty if not asked."""


class Cache:
    """Named files of tensors in a folder that belongs to one protocol."""

    def __init__(self, folder: Path, protocol: Mapping[str, Any]) -> None:
        """Open the folder, or make it.

        Raises:
            ValueError: If it holds another protocol's features.
        """
        folder.mkdir(parents=True, exist_ok=True)
        note, text = folder / "protocol.json", json.dumps(protocol, indent=1, sort_keys=True)
        if not note.exists():
            note.write_text(text)
        if note.read_text() != text:
            raise ValueError(f"{folder} holds another protocol's features: choose another --cache.")
        self.folder = folder

    def get(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """Read the tensors of that name, made first where they are missing."""
        file = self.folder / f"{name}.safetensors"
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            temporary = file.with_suffix(".tmp")
            save_file({key: value.cpu().clone() for key, value in make().items()}, temporary)
            temporary.replace(file)
        tensors: Tensors = load_file(file)
        return tensors


class Trainer:
    """Makes what the cache lacks. Reads the images only when the first thing is missing."""

    def __init__(
        self,
        backbone: Backbone,
        config: ArtsyGaussianConfig,
        read: Callable[[], Sequence[Increment]],
    ) -> None:
        self.backbone, self.config, self.read = backbone, config, read

    @cached_property
    def stream(self) -> Sequence[Increment]:
        """The tasks with their images."""
        return self.read()

    @cached_property
    def index(self) -> dict[str, int]:
        """Number of each label."""
        labels = [label for part in self.stream for label in part.task.classes]
        return {label: k for k, label in enumerate(labels)}

    def labels(self) -> Tensors:
        """Number classes and tasks."""
        train = [part.task.labels for part in self.stream]
        test = [part.test_labels for part in self.stream]
        return {
            "train_targets": torch.cat([self._targets(labels) for labels in train]),
            "train_tasks": _repeat([len(labels) for labels in train]),
            "test_targets": torch.cat([self._targets(labels) for labels in test]),
            "test_tasks": _repeat([len(labels) for labels in test]),
        }

    def frozen(self) -> Tensors:
        """Embed all images without an adapter."""
        T = len(self.stream)
        return {"train": self._embed_train(None, 0, T), "test": self._embed_test(None, T)}

    def subnetwork(self, t: int) -> Tensors:
        """Train a task's own sub-network from nothing, and embed what it may see: its task's images and all later."""
        adapter = self._train(t, None)
        T = len(self.stream)
        return adapter_state(adapter, "adapter.") | {
            "train": self._embed_train(adapter, t, T),
            "test": self._embed_test(adapter, T),
        }

    def state(self, chain: str, t: int, before: Tensors) -> Tensors:
        """Let a chain learn a task.

        Args:
            chain: One of `CHAINS`.
            t: The task.
            before: What this returned for the task before; for the first one, what `subnetwork` did: the same adapter.
        """
        previous = self._load(before)
        own, after = previous, previous
        if t > 0:
            own = after = self._train(t, previous)
        if t > 0 and chain == "mean":
            after = previous.clone()
            after.consolidate(own, weight=1 / (t + 1))
        tensors = adapter_state(after, "adapter.") | self._state(previous, after.freeze(), t)
        if chain == "mean":
            tensors["own_train"] = self._embed(self.stream[t].task.images, own)
            tensors["own_test"] = self._embed_test(own, len(self.stream))
        if chain == "mean" and t + 1 == len(self.stream):
            images = torch.cat([part.test_images for part in self.stream])
            tensors["mirrored"] = self._embed(images.flip(-1), after)
        return tensors

    def product(self) -> Tensors:
        """Let `artsy` learn the stream, whatever its default does, and look at its functional adapter."""
        strategy = ArtsyGaussian(self.backbone, self.config)
        states: Tensors = {}
        right, passes = [], []
        previous: Adapter | None = None
        for t, part in enumerate(self.stream):
            strategy.learn(part.task)
            state = self._state(previous, strategy.functional, t)
            states |= {f"{key}.{t}": value for key, value in state.items()}
            previous = strategy.functional
            known = self.stream[: t + 1]
            predictions = [strategy.predict(part.test_images) for part in known]
            answers = torch.cat([each.probabilities.argmax(dim=1) for each in predictions])
            truth = torch.cat([strategy.targets(part.test_labels) for part in known])
            right.append((answers == truth).double().mean())
            passes.append(torch.cat([each.passes for each in predictions]).double().mean())
        return states | {"accuracy": torch.stack(right), "passes": torch.stack(passes)}

    def _state(self, before: Adapter | None, after: Adapter | None, t: int) -> Tensors:
        own = self.stream[t].task.images
        return {
            "before": self._embed(own if t > 0 else own[:0], before),
            "seen": self._embed_train(after, 0, t + 1),
            "test": self._embed_test(after, t + 1),
        }

    def _train(self, t: int, start: Adapter | None) -> Adapter:
        task = self.stream[t].task
        adapter, _ = train_subnetwork(
            self.backbone,
            task,
            self._targets(task.labels),
            bottleneck=self.config.bottleneck,
            schedule=self.config.schedule,
            start=start,
        )
        return adapter

    def _embed_train(self, adapter: Adapter | None, first: int, last: int) -> Tensor:
        parts = self.stream[first:last]
        return torch.cat([self._embed(part.task.images, adapter) for part in parts])

    def _embed_test(self, adapter: Adapter | None, last: int) -> Tensor:
        return torch.cat([self._embed(part.test_images, adapter) for part in self.stream[:last]])

    def _embed(self, images: Tensor, adapter: Adapter | None) -> Tensor:
        return self.backbone.embed(images, adapter).cpu()

    def _load(self, tensors: Tensors) -> Adapter:
        adapter = load_adapter(
            {key: value for key, value in tensors.items() if key.startswith("adapter.")},
            "adapter.",
            width=self.backbone.feature_width,
            depth=self.backbone.depth,
            bottleneck=self.config.bottleneck,
        )
        return adapter.to(self.backbone.device)

    def _targets(self, labels: Sequence[str]) -> Tensor:
        return torch.tensor([self.index[label] for label in labels], dtype=torch.int64)


def collect(
    trainer: Trainer, cache: Cache, *, with_product: bool, on_done: Callable[[str], None]
) -> Features:
    """Read or make everything the tables need, and tell `on_done` the name of each part."""

    def get(name: str, make: Callable[[], Tensors]) -> Tensors:
        tensors = cache.get(name, make)
        on_done(name)
        return tensors

    labels = Labels(**get("labels", trainer.labels))
    T = labels.n_tasks
    frozen = get("frozen", trainer.frozen)
    own = [get(f"subnetwork-{t}", partial(trainer.subnetwork, t)) for t in range(T)]
    train = torch.full((T + 1, *frozen["train"].shape), float("nan"))
    train[0] = frozen["train"]
    for t in range(T):
        train[t + 1, labels.train_tasks >= t] = own[t]["train"]
    chains: dict[str, list[Tensors]] = {}
    for chain in CHAINS:
        states = [own[0]]
        for t in range(T):
            states.append(get(f"{chain}-{t}", partial(trainer.state, chain, t, states[-1])))
        chains[chain] = states[1:]
    product: Tensors = get(PRODUCT, trainer.product) if with_product else {}
    if product:
        parts = ("before", "seen", "test")
        chains[PRODUCT] = [{part: product[f"{part}.{t}"] for part in parts} for t in range(T)]
    mean = chains["mean"]
    return Features(
        labels=labels,
        train=train,
        test=torch.stack([frozen["test"], *(branch["test"] for branch in own)]),
        chains={name: _chain(states) for name, states in chains.items()},
        silent_train=[state["own_train"] for state in mean],
        silent_test=torch.stack([state["own_test"] for state in mean]),
        mirrored=mean[-1]["mirrored"],
        product={key: product[key] for key in ("accuracy", "passes") if product},
    )


def _chain(states: Sequence[Tensors]) -> Chain:
    before, seen, test = ([state[part] for state in states] for part in ("before", "seen", "test"))
    return Chain(before, seen, test)


def _repeat(counts: Sequence[int]) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
