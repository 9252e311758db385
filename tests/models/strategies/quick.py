"""Configurations that tests of every strategy learn with."""

from dataclasses import asdict

from models.backbone import Backbone
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy, find_strategy

QUICK = {
    "artsy": {"epochs": 2, "least_steps": 0, "bottleneck": 8},
    "artsy-adapting": {
        "epochs": 2,
        "least_steps": 0,
        "bottleneck": 8,
        "adapt": "always",
        "pooling": "backbone",
    },
    "artsy_gaussian": {"epochs": 2, "bottleneck": 8},
    "artsy_paper": {"epochs": 2, "bottleneck": 8},
    "artsy_paper-concat": {"epochs": 2, "bottleneck": 8, "combine": "concat"},
    "artsy_paper-h0": {
        "epochs": 2,
        "bottleneck": 8,
        "gate_input": "h0",
        "gates": "reconsolidate",
        "gate_recall": 0.99,
    },
    "ease": {"epochs": 2, "bottleneck": 8},
    "ease-pretrained": {
        "epochs": 2,
        "bottleneck": 8,
        "completion": "seen",
        "use_pretrained_branch": True,
    },
    "ewc": {"epochs": 2, "bottleneck": 8},
    "ewc-all": {"softmax": "all", "epochs": 2, "bottleneck": 8},
    "finetune": {"epochs": 2, "bottleneck": 8},
    "icarl": {"exemplars_per_class": 3, "epochs": 2, "bottleneck": 8},
    "joint": {"epochs": 2, "bottleneck": 8},
    "lwf": {"epochs": 2, "bottleneck": 8},
    "lwf-all": {"softmax": "all", "epochs": 2, "bottleneck": 8},
    "metaplasticity": {"epochs": 2, "width": 16},
    "metaplasticity-alone": {"epochs": 2, "width": 16, "others": "none"},
    "ranpac": {"epochs": 2, "bottleneck": 8, "projection_width": 48},
    "ranpac-frozen": {"adapt": "none", "projection_width": 48},
    "simplecil": {},
    "synaptic_intelligence": {"epochs": 2, "bottleneck": 8},
    "synaptic_intelligence-all": {"epochs": 2, "bottleneck": 8, "softmax": "all"},
}
"""A fast configuration of every strategy, and of every form of one."""


def make_quick(variant: str, backbone: Backbone) -> Strategy:
    """Return an unlearned strategy with one of these configurations."""
    name = variant.split("-")[0]
    config = asdict(find_strategy(name).config_type(**QUICK[variant]))
    return create_strategy(name, config, backbone)
