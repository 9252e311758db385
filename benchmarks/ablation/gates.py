"""Group `gates`: who decides which sub-networks open, on which feature, how the open ones are combined, how many.

A gate gives every image one current a task. The `routed` strongest sub-networks open; `threshold` opens those of the
trained synapses that fire at 0.5. Then

- `sum` is the paper's answer: cosine of `h_0 + sum of the open h_t` to the prototypes of the same sum, old classes
  completed in newer branches as EASE completes them;
- `concat` starts from the log-probabilities of discriminant analysis on h_0 and adds, for the classes of an open
  sub-network, the log-evidence of its own discriminant analysis: log-probability among its classes, less that of a
  guess.

All gates learn from statistics alone (`memories`), no old image. Passes count every distinct forward of an image once:
1 for h_0, 1 more where the gate reads the consolidated feature, T more where it reads the sum (the open sub-networks
have then run already), else 1 more for every open sub-network.

Shapes: B images, T tasks, K classes, D feature width.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ablation.features import Features
from benchmarks.ablation.spaces import (
    SHRINKAGE,
    Memory,
    Scores,
    Space,
    find_temperature,
    functional,
    gaussian_scores,
    log_answers,
    memories,
    opinions,
    pooled,
    replay,
    ridge_scores,
    still,
    summed,
)
from models.calibration import GAUSSIAN_PRIOR, RIDGE_PRIOR, RunningTemperature
from models.fitting import Schedule, derive_seed, seeded
from models.head import GaussianHead
from models.strategies.artsy_paper.network import SynapseNetwork
from models.strategies.ease import complete

ROUTED = ("0", "1", "2", "3", "all")
FIRING = "threshold"
"""Opens every sub-network whose synapse fires."""
COMBINES = ("sum", "concat")
CLOSED_FORM = ("lda", "ridge", "mahalanobis", "fusion")
EVERY_STEP = ("oracle", "lda", "ridge")
"""Gates that are tried after every task, not only after the last: they have an average."""
SYNAPSE_SCHEDULE = Schedule(epochs=2, batch_size=48, learning_rate=0.01)
"""The paper's."""
SYNAPSE_THRESHOLD = 0.5

Row = dict[str, Any]


def gate_rows(features: Features, seed: int) -> list[Row]:
    """Return the rows of all gates, inputs, combinations and numbers of routed sub-networks."""
    answers = Answers(features)
    labels = features.labels
    spaces = {
        "h0": still(features, 0),
        "consolidated": functional(labels, features.chains["mean"]),
        "sum": summed(features),
    }
    rows = _rows_of("none", oracle_currents(answers), answers, seed)
    for name, space in spaces.items():
        rows += _rows_of(name, closed_form_currents(space), answers, seed)
        rows += _rows_of(name, synapse_currents(space, seed), answers, seed)
    return rows


Currents = Iterator[tuple[str, int, Tensor]]
"""A gate, a task t, and the currents `(B, t + 1)` of all test images seen by then."""


def closed_form_currents(space: Space) -> Currents:
    """Yield the currents of the gates that are read off the statistics."""
    ridge, gaussian = RunningTemperature(), RunningTemperature()
    for t, memory in enumerate(memories(space, "linear")):
        asked, all_classes = space.test[t], pooled(memory)
        by_task = space.labels.class_tasks[: len(all_classes.counts)]
        _calibrate(ridge, memory, space, ridge_scores, RIDGE_PRIOR)
        _calibrate(gaussian, memory, space, gaussian_scores, GAUSSIAN_PRIOR)
        ridge_logits = ridge_scores(all_classes, asked)
        gaussian_logits = gaussian_scores(all_classes, asked)
        mean = F.log_softmax(ridge_logits / ridge.value, dim=1)
        mean = 0.5 * (mean + F.log_softmax(gaussian_logits / gaussian.value, dim=1))
        yield "ridge", t, task_maxima(ridge_logits, by_task)
        yield "lda", t, task_posteriors(gaussian_logits, by_task)
        yield "fusion", t, task_posteriors(mean, by_task)
        yield "mahalanobis", t, _nearest(memory, asked)


def synapse_currents(space: Space, seed: int) -> Currents:
    """Train the paper's synapses and yield their currents after the last task.

    `mlp` is the literal form: each is trained once, on its task's images against replayed classes of earlier tasks, and
    frozen; the first has no negatives and stays untrained. `mlp_refit` trains all of them anew after the last task,
    each on replayed images of its own classes against those of all others.
    """
    synapses, last, memory = [], space.labels.n_tasks - 1, Memory()
    for t, memory in enumerate(memories(space, "linear")):
        generator = torch.Generator().manual_seed(derive_seed(seed, t, 3))
        own = space.after[t]
        former = pooled(memory[:-1], own.shape[1])
        dealt = torch.arange(len(own)) % max(1, len(former.counts))
        others = replay(former, dealt, generator) if t > 0 else None
        synapses.append(_synapse(own, others, derive_seed(seed, t, 4)))
    yield "mlp", last, _ask(synapses, space.views)
    generator = torch.Generator().manual_seed(derive_seed(seed, last, 5))
    everything = pooled(memory)
    targets = torch.arange(len(everything.counts)).repeat_interleave(everything.counts.long())
    drawn, tasks = replay(everything, targets, generator), space.labels.class_tasks[targets]
    refitted = [
        _synapse(
            drawn[tasks == t], drawn[tasks != t] if last > 0 else None, derive_seed(seed, t, 6)
        )
        for t in range(last + 1)
    ]
    yield "mlp_refit", last, _ask(refitted, [space.test[-1]] * (last + 1))


def oracle_currents(answers: "Answers") -> Currents:
    """Yield currents that put the right task first and leave the others in the order of h_0's posterior."""
    for t, base in enumerate(answers.base):
        tasks = answers.test_tasks[answers.test_tasks <= t]
        yield (
            "oracle",
            t,
            task_posteriors(base, answers.class_tasks[: base.shape[1]]).exp()
            + (2 * F.one_hot(tasks, t + 1)),
        )


class Answers:
    """What an image is answered once it is known which sub-networks are open, after any task."""

    def __init__(self, features: Features) -> None:
        labels = features.labels
        self.class_tasks, self.test_tasks = labels.class_tasks, labels.test_tasks
        self.targets = labels.test_targets
        self.T = labels.n_tasks
        self.base = log_answers(still(features, 0))
        """Log-probabilities from h_0 after each task, `(B, K)` of what was seen by then."""
        sizes = torch.bincount(self.class_tasks)[self.class_tasks]
        own = [features.train[t + 1, labels.train_tasks == t] for t in range(self.T)]
        self.evidence = opinions(labels, own, list(features.test[1:])) + sizes.log()
        """Log-evidence of each class in its own branch, `(M, K)`."""
        self.branches = features.test
        self.prototypes = prototypes(features)
        self._overlaps = torch.einsum("skd,tkd->kst", self.prototypes, self.prototypes)

    def right(self, t: int, opened: Tensor, combine: str) -> Tensor:
        """Tell which test images seen by task t are answered correctly, bool `(B,)`, `opened` being `(B, t + 1)`."""
        rows = self.test_tasks <= t
        score = self._sum_scores if combine == "sum" else self._concat_scores
        return score(t, rows, opened).argmax(dim=1) == self.targets[rows]

    def _concat_scores(self, t: int, rows: Tensor, opened: Tensor) -> Tensor:
        K = self.base[t].shape[1]
        heard = opened[:, self.class_tasks[:K]]
        return self.base[t] + torch.where(heard, self.evidence[rows, :K], 0.0)

    def _sum_scores(self, t: int, rows: Tensor, opened: Tensor) -> Tensor:
        """Cosines `(B, K)` of each image's sum with the sums of the prototypes along its own route."""
        K = self.base[t].shape[1]
        route = F.pad(opened.float(), (1, 0), value=1.0)
        features = torch.einsum("bt,tbd->bd", route, self.branches[: t + 2, rows])
        inner = torch.zeros(len(features), K)
        for branch in range(t + 2):
            inner += route[:, branch, None] * (features @ self.prototypes[branch, :K].T)
        overlaps = self._overlaps[:K, : t + 2, : t + 2].flatten(1)
        squares = torch.einsum("bs,bt->bst", route, route).flatten(1) @ overlaps.T
        scores: Tensor = (
            inner / squares.clamp(min=1e-12).sqrt()
        )  # an image's own length changes no order
        return scores


def prototypes(features: Features) -> Tensor:
    """Return the mean of every class in every branch, those that a branch could not see completed, `(T + 1, K, D)`."""
    labels = features.labels
    K = len(labels.class_tasks)
    means = torch.stack(
        [features.train[:, labels.train_targets == k].mean(dim=1) for k in range(K)], dim=1
    )
    seen = ~means.isnan().any(dim=2)
    branches = torch.arange(labels.n_tasks + 1)[:, None]
    own = labels.class_tasks + 1
    teachers = own == branches
    return complete(means.nan_to_num().double(), seen, teachers, own).float()


def route(currents: Tensor, routed: str) -> Tensor:
    """Return which sub-networks open, bool `(B, T)`.

    Example:
        >>> route(torch.tensor([[0.1, 0.7, 0.6]]), "2")
        tensor([[False,  True,  True]])
    """
    if routed == FIRING:
        return currents >= SYNAPSE_THRESHOLD
    T = currents.shape[1]
    n = T if routed == "all" else min(int(routed), T)
    opened = torch.zeros_like(currents, dtype=torch.bool)
    return opened.scatter_(1, currents.topk(n, dim=1).indices, True)


def passes(space: str, opened: Tensor) -> float:
    """Return the mean number of forwards; how they are counted is in the module's docstring."""
    n_open = float(opened.float().sum(dim=1).mean())
    if space == "sum":
        return 1.0 + opened.shape[1]
    return 1.0 + (space == "consolidated") + n_open


def task_posteriors(logits: Tensor, by_task: Tensor) -> Tensor:
    """Add up the probabilities of each task's classes: log-probabilities `(B, T)` from logits `(B, K)`."""
    log_probabilities = F.log_softmax(logits, dim=1)
    return _reduce(log_probabilities, by_task, lambda mine: mine.logsumexp(dim=1))


def task_maxima(scores: Tensor, by_task: Tensor) -> Tensor:
    """Return the best score among each task's classes, `(B, T)` from `(B, K)`."""
    return _reduce(scores, by_task, lambda mine: mine.amax(dim=1))


def _reduce(scores: Tensor, by_task: Tensor, join: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack(
        [join(scores[:, by_task == t]) for t in range(int(by_task.max()) + 1)], dim=1
    )


def _nearest(memory: Memory, features: Tensor) -> Tensor:
    """Return minus the squared distance to each task's nearest class under the task's own covariance, `(B, T)`."""
    heads = [GaussianHead(statistics, shrinkage=SHRINKAGE) for statistics in memory]
    return torch.stack([-head.squared_distances(features).amin(dim=1) for head in heads], dim=1)


def _calibrate(
    temperature: RunningTemperature, memory: Memory, space: Space, score: Scores, prior: float
) -> None:
    t = len(memory) - 1
    targets = space.labels.local_targets(t)
    temperature.add(*find_temperature(memory, space.after[t], targets, score, prior=prior))


def _synapse(own: Tensor, others: Tensor | None, seed: int) -> SynapseNetwork:
    with seeded(seed):
        synapse = SynapseNetwork(own.shape[1])
    if others is not None:
        synapse.learn(own, others, SYNAPSE_SCHEDULE, seed=seed)
    return synapse.eval().requires_grad_(False)


def _ask(synapses: list[SynapseNetwork], views: list[Tensor]) -> Tensor:
    return torch.stack(
        [synapse.current(view) for synapse, view in zip(synapses, views, strict=True)], dim=1
    )


def _rows_of(space: str, currents_of: Currents, answers: Answers, seed: int) -> list[Row]:
    """Try all combinations and numbers of routed sub-networks for the gates of one input."""
    seen: dict[tuple[str, str, str], list[float]] = {}
    rows = []
    for gate, t, currents in currents_of:
        is_last = t == answers.T - 1
        if not is_last and gate not in EVERY_STEP:
            continue
        tasks = answers.test_tasks[answers.test_tasks <= t]
        for routed in (*ROUTED, FIRING) if gate.startswith("mlp") else ROUTED:
            opened = route(currents, routed)
            if gate == "mlp" and routed == FIRING:
                opened[:, 0] = True  # without negatives its threshold is 0
            for combine in COMBINES:
                accuracy = float(answers.right(t, opened, combine).float().mean())
                history = seen.setdefault((gate, combine, routed), [])
                history.append(accuracy)
                if is_last:
                    hit = opened[torch.arange(len(tasks)), tasks].float().mean()
                    row = {
                        "group": "gates",
                        "gate": gate,
                        "input": space,
                        "combine": combine,
                        "routed": routed,
                        "seed": seed,
                        "last": accuracy,
                        "average": float(np.mean(history)) if gate in EVERY_STEP else None,
                        "routing_accuracy": None if routed == "0" else float(hit),
                        "passes": passes(space, opened),
                    }
                    rows.append(row)
    return rows
