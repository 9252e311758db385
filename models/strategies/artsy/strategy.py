"""Artsy as a strategy: class bookkeeping here, learning and answering in the form that `preset` names.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899. The default differs: see `consolidated.py`.
"""

import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from models.backbone import Backbone
from models.ledger import Ledger, Removal
from models.progress import ProgressFn, ignore_progress
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.consolidated import ConsolidatedForm
from models.strategies.artsy.form import Form
from models.strategies.artsy.paper import PaperForm
from models.strategies.base import LearningReport, Prediction, Strategy, Task


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

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        return self.task_indexes_

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        started = time.perf_counter()
        targets = self.register(task)
        details = self.form.learn(task, targets, self.calibration_set(task), on_progress)
        return LearningReport(len(task.images), time.perf_counter() - started, details)

    def predict(self, images: Tensor) -> Prediction:
        self.require_learned()
        return self.form.predict(images)

    def predict_logits(self, images: Tensor) -> Tensor:
        return self.predict(images).probabilities.clamp(min=1e-30).log()

    def state_dict(self) -> dict[str, Tensor]:
        return self.form.state_dict() | self.ledger.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.ledger = Ledger.from_state(state, self.task_indexes_, len(self.classes_))
        self.form.load_state_dict(state, self.task_indexes_)

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        self.strike(removal)
        return self.form.unlearn(removal)
