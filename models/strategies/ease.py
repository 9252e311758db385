"""EASE: every task adds a sub-network, every image passes through all of them, and their cosines are added up.

    score(c) = sum_j w_cj cos(h_j, P_j[c])      w_cj = 1 in the branch of c's own task, alpha / (T - 1) in the others

The frozen backbone is no branch, as in the paper; `use_pretrained_branch` makes it one. In a branch newer than a class
its prototype cannot be measured: its images are gone. It is completed from the prototypes of the classes S that the
branch was made for, each as much as it resembles the class in the class's own branch i:

    P_j[c] = sum_{s in S} softmax_s( cos(P_i[c], P_i[s]) ) P_j[s]

More images of a known class pass through all branches there are, and what they show takes the place of what was
completed. A task of known classes only trains nothing and adds no branch. So a measured prototype is the plain mean of
all images that passed its branch, whatever tasks they came in; the completed ones follow from these and are not stored.
What is stored are each task's own sums: without a task, its branch and its sums, all prototypes are what they would be
had it never come.

Reference:
    Zhou et al., CVPR 2024, https://arxiv.org/abs/2403.12030. Differs: the extension of known classes; scores are
    calibrated by a temperature. Dividing alpha by T - 1 is the authors' code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.bounds import Share
from models.calibration import COSINE_PRIOR
from models.errors import CheckpointError, ConfigError, UnlearningError
from models.head import cosine_scores
from models.ledger import Removal
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.strategies.base import Strategy
from models.strategies.network import TrainingConfig
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import RawScores, Routes, Task


@dataclass(frozen=True, kw_only=True)
class EASEConfig(TrainingConfig):
    """Hyperparameters of EASE. Trained as `artsy` is, so that the two compare; the paper: 20 epochs, batches of 48."""

    alpha: Share = 0.1
    """Weight of all the branches together that are not a class's own; the paper's value."""
    completion: Literal["task", "seen"] = "task"
    """Classes that prototypes are completed from: those of the branch's own task (the paper's equation), or all whose
    images the branch has seen since (`recalc_sim` in the authors' code, on in the settings they published)."""
    use_pretrained_branch: bool = False
    """Whether the frozen backbone is one more branch, no class's own. The paper has none, and the authors' code gives
    it weight 0 unless told otherwise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ConfigError("alpha must lie between 0 and 1.")
        if self.completion not in ("task", "seen"):
            raise ConfigError("completion must be task or seen.")


class EASE(Strategy[EASEConfig]):
    """One adapter a task, all of them asked about every image. T passes: accuracy is bought with time."""

    name = "ease"
    summary = (
        "An adapter a task; every image passes through all of them and is compared with prototypes in each. "
        "A published baseline: an answer takes as many passes as there are tasks."
    )
    unlearning = "partial"
    config_type = EASEConfig
    prior = COSINE_PRIOR

    def __init__(self, backbone: Backbone, config: EASEConfig) -> None:
        super().__init__(backbone, config)
        self.adapters: list[Adapter] = []
        self.branch_tasks: tuple[int, ...] = ()
        """Index of the task of each adapter: the tasks that brought new classes."""
        self.sums: dict[int, Tensor] = {}
        """Of each task: sum of the features of each class it brought, in each branch that was there, `(B, C, D)`,
        float64, classes in the order of the ledger. B of the T branches, the oldest."""
        self._measured: tuple[Tensor, Tensor] | None = None
        self._head: Tensor | None = None

    @property
    def measured(self) -> tuple[Tensor, Tensor]:
        """Mean feature of the images of each class that passed each branch, `(T, K, D)`, and their number, `(T, K)`.

        Both zero where none did.
        """
        if self._measured is None:
            T, K, D = self.n_branches, len(self.classes_), self.backbone.feature_width
            sums = torch.zeros(T, K, D, dtype=torch.float64)
            counts = torch.zeros(T, K, dtype=torch.float64)
            for index in self.task_indexes_:
                entries = [entry for entry in self.ledger.entries if entry.task == index]
                for c, entry in enumerate(entries):
                    mine = self.sums[index][:, c]
                    sums[: len(mine), entry.target] += mine
                    counts[: len(mine), entry.target] += entry.n_images
            self._measured = sums / counts.clamp(min=1).unsqueeze(-1), counts
        return self._measured

    @property
    def means(self) -> Tensor:
        """Measured prototypes, `(T, K, D)`."""
        return self.measured[0]

    @property
    def counts(self) -> Tensor:
        """Images that they are the means of, `(T, K)`."""
        return self.measured[1]

    @property
    def n_branches(self) -> int:
        """T: passes that an image takes."""
        return len(self.adapters) + self.config.use_pretrained_branch

    @property
    def own_branches(self) -> Tensor:
        """Branch of the task that introduced each class, int64 `(K,)`.

        A class whose first task was unlearned may come from one without a branch: then the newest that measured it.
        """
        first = int(self.config.use_pretrained_branch)
        return torch.tensor(
            [
                first + self.branch_tasks.index(task)
                if task in self.branch_tasks
                else int(self.counts[:, k].nonzero().max())
                for k, task in enumerate(self.class_tasks_)
            ],
            dtype=torch.int64,
        )

    @property
    def prototypes(self) -> Tensor:
        """Prototype of every class in every branch, measured or completed, `(T, K, D)`."""
        teachers = self.counts > 0
        if self.config.completion == "task":
            for branch, task in enumerate(
                self.branch_tasks, int(self.config.use_pretrained_branch)
            ):
                taught = self.ledger.classes_of(task)
                teachers[branch] = torch.isin(torch.arange(len(self.classes_)), taught)
        return complete(self.means, self.counts > 0, teachers, self.own_branches)

    @property
    def weights(self) -> Tensor:
        """Weight of each branch in the score of each class, `(T, K)`."""
        T, K = self.counts.shape
        weights = torch.full((T, K), self.config.alpha / max(1, T - 1))
        weights[self.own_branches, torch.arange(K)] = 1.0
        return weights

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        loss = None
        if task.index in self.class_tasks_:
            loss = self._add_branch(task, targets, on_progress)
        on_progress(Progress("consolidating", 0.0))
        features = self._embed(task.images)
        mine = dict.fromkeys(targets.tolist())
        self.sums[task.index] = torch.stack(
            [features[:, targets == k].double().sum(dim=1) for k in mine], dim=1
        )
        self._measured = self._head = None
        on_progress(Progress("consolidating", 0.5))
        self.calibrate(task)
        on_progress(Progress("consolidating", 1.0))
        return {"loss": loss, "branches": self.n_branches}

    def score(self, images: Tensor) -> RawScores:
        if self._head is None:
            directions = F.normalize(self.prototypes.float(), dim=-1)
            self._head = _concatenate(directions * self.weights[..., None])
        scores = _concatenate(F.normalize(self._embed(images), dim=-1)) @ self._head.T
        routes = Routes.without_synapses(len(images), passes=self.n_branches)
        return RawScores(scores, self._distances(scores), routes)

    def _state_dict(self) -> dict[str, Tensor]:
        state = {"branches": torch.tensor(self.branch_tasks, dtype=torch.int64)}
        for index, adapter in zip(self.branch_tasks, self.adapters, strict=True):
            state |= adapter_state(adapter, f"tasks.{index}.adapter.")
        for index, sums in self.sums.items():
            state[f"tasks.{index}.sums"] = sums
        return state

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        reader = StateReader(state, what="the branches")
        self.branch_tasks = tuple(reader.tensor("branches", (None,), torch.int64).tolist())
        self.adapters = [
            load_adapter(
                state,
                f"tasks.{index}.adapter.",
                width=self.backbone.feature_width,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            ).to(self.backbone.device)
            for index in self.branch_tasks
        ]
        self.sums = {}
        for index in self.task_indexes_:
            shape = (None, len(self.ledger.classes_of(index)), self.backbone.feature_width)
            sums = reader.tensor(f"tasks.{index}.sums", shape, torch.float64)
            if len(sums) > self.n_branches:
                raise CheckpointError(f"Task {index} passed more branches than there are.")
            self.sums[index] = sums
        self._measured = self._head = None

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        before, first = self.ledger, int(self.config.use_pretrained_branch)
        stays = [True] * first + [task not in removal.tasks for task in self.branch_tasks]
        sums: dict[int, Tensor] = {}
        for index in dict.fromkeys(entry.task for entry in removal.ledger.entries):
            branches = torch.tensor(stays[: len(self.sums[index])], dtype=torch.bool)
            sums[index] = self.sums[index][branches][:, removal.trim(before.classes_of(index))[0]]
        measured = {e.target for e in removal.ledger.entries if len(sums[e.task])}
        if len(measured) < len(removal.kept):
            raise UnlearningError(
                "A class that stays was measured in no sub-network but those that would go: "
                "unlearn the class too, or learn afresh from the images that may stay."
            )
        self.apply_removal(removal)
        self.sums = sums
        kept = [t not in removal.tasks for t in self.branch_tasks]
        self.adapters = [a for a, is_kept in zip(self.adapters, kept, strict=True) if is_kept]
        self.branch_tasks = tuple(t for t in self.branch_tasks if t not in removal.tasks)
        self._measured = self._head = None
        trace = []
        if set(self.branch_tasks) & {entry.task for entry in removal.entries}:
            trace.append("Sub-networks that stay for other classes were trained with its images.")
        if not set(self.class_tasks_) <= set(self.branch_tasks):
            trace.append(
                "A later task with more images of its classes has no sub-network, "
                "which it would have got had they been new."
            )
        return " ".join(trace)

    def _add_branch(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> float | None:
        """Train the task's sub-network, and return the last epoch's mean loss; None for a task of one class."""
        adapter, loss = train_subnetwork(
            self.backbone,
            task,
            targets,
            bottleneck=self.config.bottleneck,
            schedule=self.config.schedule,
            on_progress=on_progress,
        )
        self.adapters.append(adapter)
        self.branch_tasks += (task.index,)
        return loss

    def _embed(self, images: Tensor) -> Tensor:
        """Return the features of every branch, `(T, B, D)`, on the CPU."""
        branches: list[Adapter | None] = [None] if self.config.use_pretrained_branch else []
        branches += self.adapters
        return torch.stack([self.backbone.embed(images, branch).cpu() for branch in branches])

    def _distances(self, scores: Tensor) -> Tensor:
        """Return the cosine distance to the nearest class, a weighted mean over the branches, `(B,)`."""
        return (1 - scores.amax(dim=1) / self.weights[:, 0].sum()).clamp(min=0)


def complete(means: Tensor, seen: Tensor, teachers: Tensor, own_branches: Tensor) -> Tensor:
    """Fill in the prototypes of classes that a branch has not seen; the formula is in the module's docstring.

    Args:
        means: Measured prototypes, `(T, K, D)`.
        seen: Bool `(T, K)`: which of them are measured. Every class is, in its own branch.
        teachers: Bool `(T, K)`: which classes the others are completed from, all of them seen. They have passed every
            older branch too.
        own_branches: int64 `(K,)`.

    Returns:
        Prototypes `(T, K, D)`.
    """
    prototypes = means.clone()
    for branch, known in enumerate(teachers):
        missing = ~seen[branch]
        for own in own_branches[missing].unique().tolist():
            former = missing & (own_branches == own)
            similarity = cosine_scores(means[own, former], means[own, known])
            prototypes[branch, former] = torch.softmax(similarity, dim=-1) @ means[branch, known]
    return prototypes


def _concatenate(branches: Tensor) -> Tensor:
    """Put the branches of each row side by side: `(T, N, D)` to `(N, T D)`."""
    return branches.transpose(0, 1).flatten(1)
