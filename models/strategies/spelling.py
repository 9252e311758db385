"""How earlier releases spelled what `artsy` was: read here alone.

They had both forms of Artsy in one strategy, `artsy` with a `preset`, and then the Gaussian form under that name.

Learners, tasks, versions and bundles of those releases are stored so, and clients may go on writing so. What it means
is a strategy of the catalog and a configuration in that strategy's own words.
"""

from collections.abc import Mapping
from typing import Any

from models.errors import ConfigError

PRESETS = {"consolidated": "artsy_gaussian", "paper": "artsy_paper"}
"""Which strategy each preset of `artsy` is."""
GAUSSIAN = {"shrinkage", "covariance_prior"}
"""What only the Gaussian form ever read; earlier releases stored it of each of its learners."""
_ONLY = {
    "consolidated": {"shrinkage", "covariance_prior", "max_routed"},
    "paper": {
        "synapse_epochs",
        "synapse_learning_rate",
        "combine",
        "gate_input",
        "gates",
        "gate_recall",
    },
}
"""What each form alone read. The other was given it too, and took no notice."""
_LEFT_OPEN = ("epochs", "batch_size", "threshold")
"""What was None for the default of the preset."""


def strategy_name(name: str, config: Mapping[str, Any]) -> str:
    """Return the public name of the strategy that a name and a configuration mean.

    Example:
        >>> strategy_name("artsy", {"preset": "paper"})
        'artsy_paper'
        >>> strategy_name("artsy", {"epochs": 8, "shrinkage": 0.1})
        'artsy_gaussian'
        >>> strategy_name("artsy", {})
        'artsy'
    """
    if name != "artsy":
        return name
    if "preset" in config:
        return PRESETS.get(str(config["preset"]), name)
    return "artsy_gaussian" if config.keys() & GAUSSIAN else name


def may_be_of(learner: str, strategy: str) -> bool:
    """Return whether a learner by this name may have a version of that strategy: its task may have named a preset.

    Example:
        >>> may_be_of("artsy", "artsy_paper"), may_be_of("artsy_paper", "artsy")
        (True, False)
    """
    return strategy == learner or (learner == "artsy" and strategy in PRESETS.values())


def own_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in the words of the strategy that it means.

    Raises:
        ConfigError: If there is no such preset.

    Example:
        >>> own_config("artsy", {"preset": "paper", "epochs": None, "shrinkage": 0.1, "gates": "frozen"})
        {'gates': 'frozen'}
    """
    if name != "artsy":
        return dict(config)
    preset = config.get("preset", "consolidated")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError("preset is consolidated or paper.")
    (other,) = PRESETS.keys() - {preset}
    return {
        key: value
        for key, value in config.items()
        if key != "preset" and key not in _ONLY[other] and not (key in _LEFT_OPEN and value is None)
    }


def spelled_like(
    name: str, config: Mapping[str, Any], strategy: str, own: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the own configuration of a strategy as a learner of this name and configuration spells it.

    Example:
        >>> spelled_like("artsy", {"preset": "paper", "gates": None}, "artsy_paper", {"epochs": 20})
        {'preset': 'paper', 'epochs': 20}
    """
    if "preset" not in config and (strategy == name or own.keys() & GAUSSIAN):
        return dict(own)
    (preset,) = (preset for preset, meant in PRESETS.items() if meant == strategy)
    return {"preset": preset, **own}
