"""The strategies a learner can be created with. Adding one: its file, and its line here."""

from collections.abc import Mapping
from typing import Any

from models.backbone import Backbone
from models.errors import ConfigError
from models.strategies import spelling
from models.strategies.artsy.strategy import Artsy
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian
from models.strategies.artsy_paper.strategy import ArtsyPaper
from models.strategies.base import Strategy
from models.strategies.ease import EASE
from models.strategies.ewc import EWC
from models.strategies.finetune import Finetune
from models.strategies.icarl import ICaRL
from models.strategies.joint import Joint
from models.strategies.lwf import LwF
from models.strategies.metaplasticity import Metaplasticity
from models.strategies.ranpac import RanPAC
from models.strategies.simplecil import SimpleCIL
from models.strategies.synaptic_intelligence import SynapticIntelligence

CATALOG: tuple[type[Strategy[Any]], ...] = (
    Artsy,
    SimpleCIL,
    RanPAC,
    EASE,
    Finetune,
    LwF,
    EWC,
    SynapticIntelligence,
    Metaplasticity,
    ICaRL,
    Joint,
    ArtsyGaussian,
    ArtsyPaper,
)


def find_strategy(name: str) -> type[Strategy[Any]]:
    """Return the strategy of that public name.

    Raises:
        ConfigError: If there is none.
    """
    for strategy in CATALOG:
        if strategy.name == name:
            return strategy
    known = ", ".join(strategy.name for strategy in CATALOG)
    raise ConfigError(f"There is no strategy of that name; known are {known}.")


def resolve(name: str, config: Mapping[str, Any]) -> tuple[type[Strategy[Any]], dict[str, Any]]:
    """Return the strategy that a name and a configuration mean, and the configuration in its own words.

    They may be spelled as earlier releases did: see `models.strategies.spelling`. The values are not checked.

    Raises:
        ConfigError: If there is no such strategy or preset.
    """
    strategy = find_strategy(spelling.strategy_name(name, config))
    return strategy, spelling.own_config(name, config)


def create_strategy(name: str, config: Mapping[str, Any], backbone: Backbone) -> Strategy[Any]:
    """Build an unlearned strategy from its name and its complete configuration, as `resolve` understands them.

    Raises:
        ConfigError: If the name is unknown, or a hyperparameter is unknown or out of range.
    """
    strategy, own = resolve(name, config)
    try:
        return strategy(backbone, strategy.config_type(**own))
    except TypeError as error:
        raise ConfigError(
            f"The configuration does not fit strategy {strategy.name}: {error}."
        ) from error
