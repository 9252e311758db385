"""RanPAC: ridge regression on a fixed random projection of the features, in closed form.

    h = relu(f W)                       W fixed, N(0, 1)
    G += h' h,  Q += h' onehot(y)       exact under addition: the order of tasks and images does not matter
    scores = h (G + lambda I)^-1 Q

lambda minimises the generalised cross-validation score (Golub, Heath, Wahba 1979) over everything learned so far. With
the eigenvalues d_i and eigenvectors v_i of G, a_i = |v_i' Q|^2, n images, and S the sum of the squared targets,

    trace of the hat matrix  tr(lambda) = sum_i d_i / (d_i + lambda)
    residuals                r(lambda)  = S - sum_i a_i (d_i + 2 lambda) / (d_i + lambda)^2
    GCV(lambda)              = n r / (n - tr)^2

so no image is needed: one-hot targets have S = n, and class by class both are the count of images. The least GCV over K
estimates the squared error of one score of an unseen image. Logits are scores in units of that error: both shrink as
classes are added, so that one temperature fits all tasks.

Reference:
    McDonnell et al., NeurIPS 2023, https://arxiv.org/abs/2307.02251. Differs: lambda by GCV over all tasks instead of a
    fifth of the newest task's images; 2,000 instead of 10,000 columns; AdaptFormer trained as `artsy` trains it; scores
    are calibrated by a temperature.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.adapter import Adapter, adapter_state, load_adapter
from models.backbone import Backbone
from models.bounds import Bounds
from models.calibration import RIDGE_PRIOR
from models.errors import ConfigError, MissingImagesError
from models.head import GaussianHead, cross_validate
from models.ledger import Removal
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.statistics import ClassStatistics
from models.strategies.base import Strategy
from models.strategies.network import TrainingConfig
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import RawScores, Task

RIDGES = torch.logspace(-4, 8, 49, dtype=torch.float64)
"""Candidates for lambda, four a decade: the authors' range above 1e-4, below which float64 sees only rounding."""
SHRINKAGE = 0.1
"""Of the covariance that novelty is measured with; the value of `artsy`."""
FOREIGN = 1e-3
"""Share of a class's moments that may be left once its images are subtracted: rounding leaves far less, other images
more."""
CHUNK = 4096
"""Images projected at once: 64 MB at 2,000 columns."""


@dataclass(frozen=True, kw_only=True)
class RanPACConfig(TrainingConfig):
    """Hyperparameters of RanPAC. How to train counts for the first task only, and not at all with `adapt: none`."""

    adapt: Literal["first_task", "none"] = "first_task"
    """`first_task`: an adapter is trained on the first task and frozen for ever, as published. `none`: the backbone's
    features as they are, and learning is independent of the order of tasks."""
    projection_width: Annotated[int, Bounds(1, 10_000, "memory grows with its square")] = 2000
    """Columns M of the projection. Memory grows with M^2 (16 MB a version here), time with M^3 (a second a task). The
    paper's 10,000 is the most allowed."""
    projection_seed: Annotated[int, Bounds(0, 2**63 - 1, "generators take no more")] = 0
    """The projection derives from it alone. Learners to be compared or merged share it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapt not in ("first_task", "none"):
            raise ConfigError("adapt must be first_task or none.")
        if not 1 <= self.projection_width <= 10_000:
            raise ConfigError("projection_width must lie between 1 and 10000.")
        if not 0 <= self.projection_seed < 2**63:
            raise ConfigError("projection_seed must lie between 0 and 2^63 - 1.")


class RanPAC(Strategy[RanPACConfig]):
    """Second-order statistics of randomly projected features. Forgets nothing; adapts its features once."""

    name = "ranpac"
    summary = (
        "Ridge regression on a fixed random projection, in closed form; an adapter is trained on the first task only. "
        "A strong baseline of one pass: seconds a task, and the order of the later tasks does not matter."
    )
    unlearning = "needs_images"
    config_type = RanPACConfig
    prior = RIDGE_PRIOR

    def __init__(self, backbone: Backbone, config: RanPACConfig) -> None:
        super().__init__(backbone, config)
        self.adapter: Adapter | None = None
        self.adapted_on: int | None = None
        """Index of the task that trained the adapter."""
        self.projection = torch.zeros(backbone.feature_width, 0)
        """W, float32 `(D, M)`. Stored, not drawn again: torch promises no stream of random numbers across releases,
        and 1.5 MB once a learner buys predictions that survive an upgrade."""
        self.moments = RidgeMoments.empty(0)
        self.weight = torch.zeros(0, 0, dtype=torch.float64)
        """From h to logits, float64 `(M, K)`: solved once a task, so that loading and predicting solve nothing."""
        self.statistics = ClassStatistics.empty(backbone.feature_width)
        """Of the features before the projection. Their counts serve GCV; their Gaussians tell how new an image is,
        which a linear score, large far from all images too, does not."""
        self._gaussians: GaussianHead | None = None

    @property
    def gaussians(self) -> GaussianHead:
        """Distances to the classes, rebuilt after every change of the statistics."""
        if self._gaussians is None:
            self._gaussians = GaussianHead(self.statistics, shrinkage=SHRINKAGE)
        return self._gaussians

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        loss = self._begin(task, targets, on_progress) if len(self.task_indexes_) == 1 else None
        on_progress(Progress("consolidating", 0.0))
        features = self.backbone.embed(task.images, self.adapter).cpu()
        crossed = cross_validate(self.statistics, features, targets, shrinkage=SHRINKAGE)
        self.statistics.add(features, targets, len(self.classes_))
        self._gaussians = None
        for part, part_targets in zip(features.split(CHUNK), targets.split(CHUNK), strict=True):
            self.moments.add(self._project(part), part_targets, len(self.classes_))
        on_progress(Progress("consolidating", 0.5))
        solution = self.moments.solve(self.statistics.counts)
        self.weight = solution.weight / solution.error
        self._calibrate(task, features, targets, solution, crossed.squared_distances.amin(dim=1))
        on_progress(Progress("consolidating", 1.0))
        return {"loss": loss, "ridge": solution.ridge}

    def score(self, images: Tensor) -> RawScores:
        features = self._embed(images)
        distances = self.gaussians.squared_distances(features).amin(dim=1)
        return RawScores(self._logits(features), distances)

    def _state_dict(self) -> dict[str, Tensor]:
        state = self.moments.state_dict("moments.") | {"weight": self.weight}
        state |= self.statistics.state_dict("statistics.")
        if self.task_indexes_:
            state[f"{self._first}projection"] = self.projection
        if self.adapter is not None:
            state["adapted_on"] = torch.tensor(self.adapted_on)
            state |= adapter_state(self.adapter, f"{self._first}adapter.")
        return state

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.statistics = ClassStatistics.from_state(state, "statistics.")
        self._gaussians = None
        if not self.task_indexes_:
            return
        D, M, K = self.backbone.feature_width, self.config.projection_width, len(self.classes_)
        reader = StateReader(state, what="the projection and its adapter")
        self.projection = reader.tensor(f"{self._first}projection", (D, M))
        self.weight = reader.tensor("weight", (M, K), torch.float64)
        self.moments = RidgeMoments.from_state(state, "moments.", shape=(M, K))
        if self.config.adapt == "first_task":
            self.adapted_on = reader.integer("adapted_on")
            self.adapter = load_adapter(
                state,
                f"{self._first}adapter.",
                width=D,
                depth=self.backbone.depth,
                bottleneck=self.config.bottleneck,
            ).to(self.backbone.device)

    @property
    def _first(self) -> str:
        """Prefix of what the first task fixed: the adapter and the projection, which never change again."""
        return f"tasks.{self.task_indexes_[0]}."

    def _begin(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> float | None:
        """Fix the features for ever: draw the projection, and train the adapter on the first task.

        Returns:
            The last epoch's mean loss; None without training.
        """
        M = self.config.projection_width
        generator = torch.Generator().manual_seed(self.config.projection_seed)
        self.projection = torch.randn(self.backbone.feature_width, M, generator=generator)
        self.moments = RidgeMoments.empty(M)
        if self.config.adapt == "none":
            return None
        self.adapted_on = task.index
        self.adapter, loss = train_subnetwork(
            self.backbone,
            task,
            targets,
            bottleneck=self.config.bottleneck,
            schedule=self.config.schedule,
            on_progress=on_progress,
        )
        return loss

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        features, targets = self._find(removal, images)
        moments, statistics = self.moments.copy(), self.statistics.copy()
        for part, part_targets in zip(features.split(CHUNK), targets.split(CHUNK), strict=True):
            moments.subtract(self._project(part), part_targets)
        statistics.subtract(features, targets)
        gone = removal.renumbered < 0
        left, whole = moments.cross[:, gone].abs().sum(), self.moments.cross[:, gone].abs().sum()
        if left > FOREIGN * whole:
            raise MissingImagesError("The given images are not those that this learner learned.")
        self.apply_removal(removal)
        self.moments, self.statistics = (
            moments.select(removal.kept),
            statistics.select(removal.kept),
        )
        self._gaussians = None
        solution = self.moments.solve(self.statistics.counts)
        self.weight = solution.weight / solution.error
        if self.adapted_on in {entry.task for entry in removal.entries}:
            return "The adapter was trained with its images."
        return ""

    def _find(self, removal: Removal, images: Sequence[Task]) -> tuple[Tensor, Tensor]:
        """Return features `(N, D)` and targets `(N,)` of the training images that go, from those given."""
        given = {task.index: task for task in images}
        features, targets = [], []
        for index in dict.fromkeys(entry.task for entry in removal.entries):
            goes = [entry for entry in removal.entries if entry.task == index]
            task = given.get(index)
            if task is None or any(
                task.labels.count(self.classes_[entry.target]) != entry.n_images for entry in goes
            ):
                raise MissingImagesError(
                    f"To take out what task {index} brought, ranpac needs the training images it learned there: "
                    "all of them, and no others."
                )
            index_of = {self.classes_[entry.target]: entry.target for entry in goes}
            rows = torch.tensor([label in index_of for label in task.labels])
            # All of the task's images at once: in the batches they were learned in, features agree to the bit.
            features.append(self._embed(task.images)[rows])
            targets += [index_of[label] for label in task.labels if label in index_of]
        return torch.cat(features), torch.tensor(targets)

    def _embed(self, images: Tensor) -> Tensor:
        return self.backbone.embed(images, self.adapter).cpu()

    def _project(self, features: Tensor) -> Tensor:
        """Return `h`, float64 `(B, M)`, of features `(B, D)`."""
        return torch.relu(features.double() @ self.projection.double())

    def _logits(self, features: Tensor) -> Tensor:
        return (self._project(features) @ self.weight).float()

    def _calibrate(
        self,
        task: Task,
        features: Tensor,
        targets: Tensor,
        solution: "RidgeSolution",
        crossed: Tensor,
    ) -> None:
        """Learn how sure to be from images that the scores did not see.

        That is the held-out images, and the training images, each scored as if it had been left out: with fewer images
        than columns the ridge knows its own images by heart.

        Args:
            task: For its held-out images.
            features: Of the training images, `(N, D)`.
            targets: Theirs, `(N,)`.
            solution: The current one.
            crossed: Cross-validated distances of training images to their nearest class, at most `(N,)`.
        """
        images, image_targets = self.calibration_set(task)
        fresh = self.score(images)
        logits = [fresh.logits]
        known = self.statistics.counts[targets] > 1  # without its only image a class is unknown
        features, targets = features[known], targets[known]
        for part, part_targets in zip(features.split(CHUNK), targets.split(CHUNK), strict=True):
            scores = solution.leave_one_out(self._project(part), part_targets)
            logits.append((scores / solution.error).float())
        self.calibration.add(
            torch.cat(logits),
            torch.cat([image_targets, targets]),
            torch.cat([fresh.distances, crossed]),
            task=task.index,
        )


@dataclass
class RidgeMoments:
    """What ridge regression needs of all images. Shapes: M columns, K classes. Float64 on the CPU."""

    gram: Tensor
    """G: sum of h h', `(M, M)`."""
    cross: Tensor
    """Q: sum of h over the images of each class, `(M, K)`."""

    @classmethod
    def empty(cls, width: int) -> "RidgeMoments":
        """Return the moments of no image."""
        return cls(
            torch.zeros(width, width, dtype=torch.float64),
            torch.zeros(width, 0, dtype=torch.float64),
        )

    def add(self, projected: Tensor, targets: Tensor, n_classes: int) -> None:
        """Add images: float64 `(N, M)`, int64 `(N,)` below `n_classes`, which may have grown."""
        grown = F.pad(self.cross, (0, n_classes - self.cross.shape[1]))
        self.cross = grown + projected.T @ F.one_hot(targets, n_classes).double()
        self.gram += projected.T @ projected

    def copy(self) -> "RidgeMoments":
        """Return independent moments with the same values."""
        return RidgeMoments(self.gram.clone(), self.cross.clone())

    def subtract(self, projected: Tensor, targets: Tensor) -> None:
        """Take images out that were added. Undoes `add` but for rounding."""
        n_classes = self.cross.shape[1]
        self.cross = self.cross - projected.T @ F.one_hot(targets, n_classes).double()
        self.gram -= projected.T @ projected

    def select(self, classes: Tensor) -> "RidgeMoments":
        """Return the moments of these classes alone, int64 `(C,)`. The others have no image left."""
        return RidgeMoments(self.gram.clone(), self.cross[:, classes])

    def solve(self, counts: Tensor) -> "RidgeSolution":
        """Regress on one-hot targets with the lambda that GCV prefers, from one eigendecomposition.

        Args:
            counts: Images a class, `(K,)`: their number, and for one-hot targets their sum of squares.
        """
        values, vectors = torch.linalg.eigh(self.gram)
        real = values > values[-1] * len(values) * torch.finfo(torch.float64).eps
        values, vectors = values[real], vectors[:, real]
        coordinates = vectors.T @ self.cross
        energy = coordinates.square().sum(dim=1)
        least, best = gcv_scores(values, energy, counts, RIDGES).min(dim=0)
        ridge = float(RIDGES[best])
        inverse = 1 / (values + ridge)
        return RidgeSolution(
            weight=vectors @ (inverse[:, None] * coordinates),
            ridge=ridge,
            error=max(1e-6, math.sqrt(float(least) / len(counts))),
            vectors=vectors,
            inverse=inverse,
        )

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under prefixed keys. G is symmetric: its lower triangle says everything."""
        row, column = torch.tril_indices(*self.gram.shape)
        return {f"{prefix}gram": self.gram[row, column], f"{prefix}cross": self.cross}

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], prefix: str, *, shape: tuple[int, int]
    ) -> "RidgeMoments":
        """Rebuild from what `state_dict` returned, for columns and classes `(M, K)`.

        Raises:
            CheckpointError: If a tensor is missing or has another shape or type.
        """
        reader = StateReader(state, prefix, what="the moments of the ridge regression")
        M = shape[0]
        triangle = reader.tensor("gram", (M * (M + 1) // 2,), torch.float64)
        cross = reader.tensor("cross", shape, torch.float64)
        moments = cls.empty(M)
        row, column = torch.tril_indices(M, M)
        moments.gram[row, column] = triangle
        moments.gram[column, row] = triangle
        moments.cross = cross.clone()
        return moments


@dataclass(frozen=True)
class RidgeSolution:
    """A solved ridge regression. Shapes: N images, M columns, R <= M its rank, K classes."""

    weight: Tensor
    """`(M, K)`."""
    ridge: float
    """lambda."""
    error: float
    """Expected root mean square error of a score of an unseen image."""
    vectors: Tensor
    """Eigenvectors of G, `(M, R)`."""
    inverse: Tensor
    """Eigenvalues of `(G + lambda I)^-1`, `(R,)`."""

    def leave_one_out(self, projected: Tensor, targets: Tensor) -> Tensor:
        """Score images this solution was made from, each as if it alone had been left out: exact, no solving.

        With the leverage `l = h' (G + lambda I)^-1 h` of an image, its own target's part in its score is `l y`, and
        without it the score is `(score - l y) / (1 - l)`.

        Args:
            projected: Float64 `(N, M)`.
            targets: int64 `(N,)`.

        Returns:
            Scores `(N, K)`.
        """
        leverage = ((projected @ self.vectors).square() @ self.inverse).clamp(max=1 - 1e-9)
        scores = projected @ self.weight
        scores[torch.arange(len(targets)), targets] -= leverage
        return scores / (1 - leverage[:, None])


def gcv_scores(values: Tensor, energy: Tensor, counts: Tensor, ridges: Tensor) -> Tensor:
    """Return the generalised cross-validation score of each lambda, `(L,)`; the formula is in the module's docstring.

    What of `r` and of `n - tr` does not depend on lambda is split off first: both get small where lambda does, and the
    formulas as they stand would lose them to rounding.

    Args:
        values: Eigenvalues of G above zero, `(R,)`.
        energy: a_i, the squared length of Q along each eigenvector, `(R,)`.
        counts: Images a class, `(K,)`.
        ridges: Candidates for lambda, `(L,)`.
    """
    n = counts.sum()
    fixed = (n - (energy / values).sum()).clamp(min=0)
    share = ridges[:, None] / (values + ridges[:, None])
    residuals = fixed + (energy / values * share.square()).sum(dim=1)
    freedom = (n - len(values)).clamp(min=0) + share.sum(dim=1)
    scores: Tensor = n * residuals / freedom.square()
    return scores
