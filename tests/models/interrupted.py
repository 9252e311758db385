"""What tests of interruptions learn with: configurations, and a keeper that stops the learning."""

from typing import Any

from models.errors import StoppedError

SMALL = {"epochs": 2, "bottleneck": 4, "batch_size": 4}
QUICK: dict[str, dict[str, Any]] = {
    "artsy": SMALL | {"least_steps": 0, "adapt": "always"},
    "artsy-bfloat16": SMALL | {"least_steps": 0, "adapt": "always", "precision": "bfloat16"},
    "artsy-last-blocks": SMALL
    | {"least_steps": 0, "adapt": "always", "trained_share": 0.5, "patch_share": 0.5},
    "artsy_gaussian": SMALL,
    "artsy_paper": SMALL | {"synapse_epochs": 2},
    "artsy_paper-reconsolidate": SMALL
    | {
        "synapse_epochs": 2,
        "gate_input": "h0",
        "gates": "reconsolidate",
        "gate_recall": 0.99,
    },
    "ease": SMALL,
    "ewc": SMALL,
    "finetune": SMALL | {"augmentation": "crop_flip"},
    "icarl": SMALL | {"exemplars_per_class": 3},
    "joint": SMALL,
    "lwf": SMALL,
    "metaplasticity": {"epochs": 2, "width": 16, "batch_size": 4},
    "ranpac": SMALL | {"projection_width": 48},
    "simplecil": {},
    "synaptic_intelligence": SMALL,
}
"""A fast configuration of every strategy, and of those forms that train otherwise."""


class Interrupter:
    """Keeps a checkpoint after one step of the whole learning, from 1, and stops there."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.n_steps = 0
        self.kept: bytes | None = None

    def is_due(self) -> bool:
        self.n_steps += 1
        return self.n_steps == self.at

    def keep(self, checkpoint: bytes) -> None:
        self.kept = checkpoint
        raise StoppedError("Interrupted.")
