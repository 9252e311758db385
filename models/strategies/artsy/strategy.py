"""Artsy as a strategy: class bookkeeping here, learning and answering in the form that `preset` names.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899. The default differs: see `consolidated.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from models.backbone import Backbone
from models.ledger import Removal
from models.progress import ProgressFn
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.consolidated import ConsolidatedForm
from models.strategies.artsy.form import Form
from models.strategies.artsy.paper import PaperForm
from models.strategies.base import Strategy
from models.strategies.values import RawScores, Task


class Artsy(Strategy[ArtsyConfig]):
    """Silent and functional synapses over sub-networks in a frozen backbone."""

    name = "artsy"
    summary = (
        "A consolidated functional adapter with closed-form statistics, and a silent sub-network a task that fires "
        "where the answer is uncertain. The default: best accuracy, one pass for most images, needs no old image."
    )
    unlearning = "partial"
    config_type = ArtsyConfig

    def __init__(self, backbone: Backbone, config: ArtsyConfig) -> None:
        super().__init__(backbone, config)
        form_type = PaperForm if config.preset == "paper" else ConsolidatedForm
        self.form: Form = form_type(backbone, config)
        self.calibration = self.form.calibration

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        return self.task_indexes_

    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        return self.form.learn(task, targets, self.calibration_set(task), on_progress)

    def score(self, images: Tensor) -> RawScores:
        return self.form.score(images)

    def predict_logits(self, images: Tensor) -> Tensor:
        return self.predict(images).probabilities.clamp(min=1e-30).log()

    def _state_dict(self) -> dict[str, Tensor]:
        return self.form.state_dict()

    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.form.load_state_dict(state, self.task_indexes_)

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.strike(removal)
        return self.form.unlearn(removal)
