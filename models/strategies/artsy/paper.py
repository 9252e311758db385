"""The paper's literal method: every task adds a sub-network and a hard gate, and the gated features are summed.

    c_t = S_t( sum_{i=0..t} h_i )                 Eq. 3
    m_t = 1 if c_t >= thr_t else 0                Eq. 4
    y   = W^T l( h_0 + sum_t m_t h_t )            Eq. 5

Every image takes T + 1 passes. Kept for comparison; the consolidated form is better and faster.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899. What it leaves open we read so: prototypes add like features,
    so every route has matching ones; `l` is l2 normalisation; former classes get their prototypes in a new branch by
    EASE's completion; former data for a synapse are drawn from Gaussians around those prototypes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.calibration import COSINE_PRIOR, Calibration
from models.errors import CheckpointError
from models.fitting import Schedule, derive_seed, seeded
from models.head import cosine_scores
from models.progress import Progress, ProgressFn
from models.statistics import ClassStatistics
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.form import Form
from models.strategies.base import Prediction, Task
from models.synapse import Synapse


class PaperForm(Form):
    """T sub-networks, T MLP synapses, summed features, cosine prototypes."""

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        super().__init__(backbone, config)
        self.adapters: list[Adapter] = []
        self.synapses: list[Synapse] = []
        self.task_indexes: list[int] = []
        self.prototypes = torch.zeros(1, 0, backbone.feature_width)
        """Mean feature of every class in every branch, `(T + 1, K, D)`; branch 0 is the frozen backbone."""
        self.counts = torch.zeros(0)
        self.calibration = Calibration(prior=COSINE_PRIOR)

    @property
    def thresholds(self) -> Tensor:
        """Thresholds `(T,)`. The first synapse never saw a negative: its threshold is 0, it is always functional."""
        thresholds = torch.full((len(self.adapters),), self.config.firing_threshold)
        thresholds[:1] = 0.0
        return thresholds

    def learn(
        self,
        task: Task,
        targets: Tensor,
        held_out: tuple[Tensor, Tensor],
        on_progress: ProgressFn,
    ) -> dict[str, Any]:
        adapter = self.fresh_adapter(task)
        loss = self.train_subnetwork(adapter, task, targets, on_progress)
        on_progress(Progress("consolidating", 0.0))
        self.adapters.append(adapter)
        self.task_indexes.append(task.index)
        branches = self._embed(task.images)
        known = len(self.counts)
        self._extend_prototypes(branches, targets)
        on_progress(Progress("consolidating", 0.5))
        synapse_loss = self._learn_synapse(branches.sum(dim=0), targets, known, task)
        images, image_targets = held_out
        scores, _, _ = self._score(images)
        self.calibration.add(scores, image_targets, (1 - scores.amax(dim=1)).clamp(min=0))
        on_progress(Progress("consolidating", 1.0))
        return {
            "loss": loss,
            "synapse_loss": synapse_loss,
            "temperature": self.calibration.temperature.value,
        }

    def predict(self, images: Tensor) -> Prediction:
        scores, currents, functional = self._score(images)
        distances = (1 - scores.amax(dim=1)).clamp(min=0)
        return Prediction(
            probabilities=self.calibration.probabilities(scores),
            novelty=self.calibration.familiarity.novelty(distances),
            currents=currents,
            thresholds=self.thresholds,
            functional=functional,
            passes=torch.full((len(images),), len(self.adapters) + 1),
        )

    def state_dict(self) -> dict[str, Tensor]:
        state = {"prototypes": self.prototypes, "counts": self.counts}
        state |= self.calibration.state_dict("calibration.")
        for index, adapter, synapse in zip(
            self.task_indexes, self.adapters, self.synapses, strict=True
        ):
            state |= adapter_state(adapter, f"tasks.{index}.adapter.")
            for key, tensor in synapse.state_dict().items():
                state[f"tasks.{index}.synapse.{key}"] = tensor.cpu()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor], task_indexes: tuple[int, ...]) -> None:
        try:
            self.prototypes, self.counts = state["prototypes"], state["counts"]
        except KeyError as error:
            raise CheckpointError("The prototypes are missing from the artifact.") from error
        self.calibration.load_state_dict(state, "calibration.")
        self.task_indexes = list(task_indexes)
        self.adapters = [
            load_adapter(
                state,
                f"tasks.{index}.adapter.",
                width=self.backbone.feature_width,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            ).to(self.backbone.device)
            for index in task_indexes
        ]
        self.synapses = [self._load_synapse(state, index) for index in task_indexes]

    def _embed(self, images: Tensor) -> Tensor:
        """Return the features of every branch, `(T + 1, B, D)`, on the CPU."""
        branches: list[Adapter | None] = [None, *self.adapters]
        return torch.stack([self.backbone.embed(images, branch).cpu() for branch in branches])

    def _score(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return cosines `(B, K)`, currents `(B, T)` and which synapses are functional `(B, T)`."""
        branches = self._embed(images)
        running_sums = branches.cumsum(dim=0)[1:]
        currents = torch.stack(
            [synapse.current(x) for synapse, x in zip(self.synapses, running_sums, strict=True)],
            dim=1,
        )
        functional = currents >= self.thresholds
        open_branches = torch.cat([torch.ones(len(images), 1), functional.float()], dim=1)
        features = torch.einsum("bt,tbd->bd", open_branches, branches)
        scores = torch.empty(len(images), self.prototypes.shape[1])
        for route in open_branches.unique(dim=0):
            rows = (open_branches == route).all(dim=1)
            prototypes = torch.einsum("t,tkd->kd", route, self.prototypes)
            scores[rows] = cosine_scores(features[rows], prototypes)
        return scores, currents, functional

    def _extend_prototypes(self, branches: Tensor, targets: Tensor) -> None:
        """Add a branch for every class and a row for every new one; complete the former classes in the new branch.

        Args:
            branches: Features of this task's images in every branch, `(T + 1, N, D)`.
            targets: Class of each image, `(N,)`.
        """
        known = len(self.counts)
        n_classes = max(known, int(targets.max()) + 1)
        T, _, D = branches.shape
        prototypes = torch.zeros(T, n_classes, D)
        prototypes[: T - 1, :known] = self.prototypes
        counts = torch.cat([self.counts, torch.zeros(n_classes - known)])
        mine = targets.unique()
        means = torch.stack([branches[:, targets == k].mean(dim=1) for k in mine], dim=1)
        former = torch.tensor(
            [k for k in range(known) if k not in mine.tolist()], dtype=torch.int64
        )
        if len(former):
            similarity = cosine_scores(prototypes[-2, former], means[-2])
            prototypes[-1, former] = torch.softmax(similarity, dim=-1) @ means[-1]
        n_mine = torch.stack([(targets == k).sum() for k in mine]).float()
        share = (n_mine / (counts[mine] + n_mine)).unsqueeze(-1)
        prototypes[:-1, mine] = torch.lerp(prototypes[:-1, mine], means[:-1], share)
        prototypes[-1, mine] = means[-1]
        counts[mine] += n_mine
        self.prototypes, self.counts = prototypes, counts

    def _learn_synapse(self, own: Tensor, targets: Tensor, known: int, task: Task) -> float | None:
        """Train the task's synapse on its summed features `(N, D)` against Gaussian replay of the former classes.

        Returns:
            The last epoch's mean loss; None for the first task, which has nothing to be told from.
        """
        seed = derive_seed(task.seed, task.index, 3)
        with seeded(seed):
            synapse = Synapse(self.backbone.feature_width)
            former = [k for k in range(known) if k not in targets.unique().tolist()]
            others = self._replay(own, targets, former)
        loss = None
        if former:
            config = self.config
            schedule = Schedule(
                epochs=config.synapse_epochs,
                batch_size=config.schedule.batch_size,
                learning_rate=config.synapse_learning_rate,
            )
            loss = synapse.learn(own, others, schedule, seed=seed)
        self.synapses.append(synapse.eval().requires_grad_(False))
        return loss

    def _replay(self, own: Tensor, targets: Tensor, former: list[int]) -> Tensor:
        """Draw as many summed features as `own` has, `(M, D)`, from Gaussians around the former classes' prototypes."""
        if not former:
            return own[:0]
        centres = self.prototypes.sum(dim=0)[former]
        statistics = ClassStatistics.of(
            own, targets.unique(return_inverse=True)[1], len(targets.unique())
        )
        covariance = statistics.covariance
        jitter = 1e-4 * covariance.diagonal().mean().clamp(min=1e-8)
        factor = torch.linalg.cholesky(
            covariance + jitter * torch.eye(len(covariance), dtype=torch.float64)
        )
        chosen = centres[torch.arange(len(own)) % len(former)]
        noise = torch.randn(len(own), own.shape[1], dtype=torch.float64)
        drawn: Tensor = chosen + (noise @ factor.T).float()
        return drawn

    def _load_synapse(self, state: Mapping[str, Tensor], index: int) -> Synapse:
        prefix = f"tasks.{index}.synapse."
        synapse = Synapse(self.backbone.feature_width)
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        try:
            synapse.load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(f"The synapse of task {index} is incomplete.") from error
        return synapse.eval().requires_grad_(False)
