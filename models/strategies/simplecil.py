"""SimpleCIL: class means of the frozen backbone's features, compared by cosine. Nothing is trained.

Each task's sums are kept by themselves, so a task or class can be taken out again without a trace in the scores.

Reference:
    Zhou et al., IJCV 2024, https://arxiv.org/abs/2303.07338. Differs: scores are calibrated by a temperature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.backbone import Backbone
from models.calibration import COSINE_PRIOR
from models.correcting import NOWHERE, Change
from models.head import cosine_scores
from models.ledger import Ledger, Removal
from models.progress import Progress, ProgressFn
from models.state import StateReader
from models.strategies.base import ImagesOf, Strategy, StrategyConfig
from models.strategies.values import RawScores, Task


@dataclass(frozen=True, kw_only=True)
class SimpleCILConfig(StrategyConfig):
    """SimpleCIL has no hyperparameters."""


class SimpleCIL(Strategy[SimpleCILConfig]):
    """Class means on frozen features. Forgets nothing, and improves nothing."""

    name = "simplecil"
    summary = "Class means on frozen features: learns in seconds and trains nothing. A baseline."
    unlearning = "exact"
    corrects = True
    reads_features = True
    config_type = SimpleCILConfig
    prior = COSINE_PRIOR

    def __init__(self, backbone: Backbone, config: SimpleCILConfig) -> None:
        super().__init__(backbone, config)
        self.sums: dict[int, Tensor] = {}
        """Of each task: sum of the features of each class it brought, float64 `(C, D)`, in the order of the ledger."""
        self._means: Tensor | None = None

    @property
    def means(self) -> Tensor:
        """Mean feature of each class over all tasks, `(K, D)`: each has the same images as a learner had at once."""
        if self._means is None:
            K, D = len(self.classes_), self.backbone.feature_width
            sums, counts = torch.zeros(K, D, dtype=torch.float64), torch.zeros(K, 1)
            rows = (row for task in self.task_indexes_ for row in self.sums[task])
            for entry, row in zip(self.ledger.entries, rows, strict=True):
                sums[entry.target] += row
                counts[entry.target] += entry.n_images
            self._means = (sums / counts).float()
        return self._means

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        features = task.features(self.fingerprint_of_features())
        if features is None:
            features = self.features_of(task.images)
        features = features.double()
        mine = dict.fromkeys(targets.tolist())
        self.sums[task.index] = torch.stack([features[targets == k].sum(dim=0) for k in mine])
        self._means = None
        on_progress(Progress("consolidating", 0.5))
        self.calibrate(task)
        on_progress(Progress("consolidating", 1.0))
        return {}

    def score(self, images: Tensor) -> RawScores:
        return self.score_features(self.features_of(images), images.__getitem__)

    def features_of(self, images: Tensor) -> Tensor:
        return self.backbone.embed(images).cpu()

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features_of(images)
        return features, features

    def score_features(self, features: Tensor, images_of: ImagesOf) -> RawScores:
        scores = cosine_scores(features, self.means)
        return RawScores(scores, 1 - scores.amax(dim=1), features=features)

    def _state_dict(self) -> dict[str, Tensor]:
        return {f"tasks.{index}.sums": sums for index, sums in self.sums.items()}

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        reader = StateReader(state, "tasks.", what="the sums of the classes")
        self.sums = {}
        for index in self.task_indexes_:
            shape = (len(self.ledger.classes_of(index)), self.backbone.feature_width)
            self.sums[index] = reader.tensor(f"{index}.sums", shape, torch.float64)
        self._means = None

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        before = self.ledger
        self.apply_removal(removal)
        self.sums = {
            index: self.sums[index][removal.trim(before.classes_of(index))[0]]
            for index in self.task_indexes_
        }
        self._means = None
        return ""

    def _correct(
        self,
        changes: Sequence[Change],
        images: Sequence[Tensor],
        ledger: Ledger,
        on_progress: ProgressFn,
    ) -> str:
        for change, of_task in zip(changes, images, strict=True):
            known = self.ledger.classes_of(change.task).tolist()
            sums = dict(zip(known, self.sums[change.task].clone(), strict=True))
            features = self.features_of(of_task).double()
            for targets, sign in ((change.before, -1), (change.after, 1)):
                for target, feature in zip(targets, features, strict=True):
                    if target != NOWHERE:
                        sums[target] = sums.get(target, torch.zeros_like(feature)) + sign * feature
            left = ledger.classes_of(change.task).tolist()
            self.sums[change.task] = torch.stack([sums[target] for target in left])
        self._means = None
        on_progress(Progress("consolidating", 1.0))
        return ""
