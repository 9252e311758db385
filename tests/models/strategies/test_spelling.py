"""`artsy` with a preset, as earlier releases spelled it, and what it means today."""

from dataclasses import asdict, fields

import pytest

from models.errors import ConfigError
from models.strategies.artsy.strategy import Artsy
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig
from models.strategies.artsy_gaussian.strategy import ArtsyGaussian
from models.strategies.artsy_paper.config import ArtsyPaperConfig
from models.strategies.artsy_paper.strategy import ArtsyPaper
from models.strategies.catalog import create_strategy, resolve
from models.strategies.spelling import spelled_like

EARLIER = {
    "preset": "consolidated",
    "epochs": None,
    "batch_size": None,
    "learning_rate": 0.025,
    "bottleneck": 64,
    "augmentation": "crop",
    "precision": "auto",
    "shrinkage": 0.1,
    "covariance_prior": 4.0,
    "threshold": None,
    "max_routed": 2,
    "synapse_epochs": 2,
    "synapse_learning_rate": 0.01,
    "combine": "sum",
    "gate_input": "sum",
    "gates": "frozen",
    "gate_recall": None,
}
"""A whole configuration of earlier releases, with all their defaults."""
OF = {"consolidated": (ArtsyGaussian, ArtsyGaussianConfig), "paper": (ArtsyPaper, ArtsyPaperConfig)}


@pytest.mark.parametrize("preset", OF)
def test_the_defaults_of_a_preset_are_those_of_its_strategy(preset, backbone):
    kind, config_type = OF[preset]

    strategy = create_strategy("artsy", {**EARLIER, "preset": preset}, backbone)

    assert type(strategy) is kind
    assert strategy.config == config_type()


@pytest.mark.parametrize("preset", OF)
def test_what_a_preset_was_told_it_is_told_still(preset, backbone):
    kind, config_type = OF[preset]
    told = {
        "epochs": 3,
        "batch_size": 5,
        "learning_rate": 0.5,
        "bottleneck": 7,
        "augmentation": "none",
        "precision": "float32",
        "shrinkage": 0.2,
        "covariance_prior": None,
        "threshold": 0.0,
        "max_routed": 1,
        "synapse_epochs": 4,
        "synapse_learning_rate": 0.3,
        "combine": "concat",
        "gate_input": "h0",
        "gates": "reconsolidate",
        "gate_recall": 0.9,
    }
    assert told.keys() | {"preset"} == EARLIER.keys()

    strategy = create_strategy("artsy", {"preset": preset, **told}, backbone)

    own = {field.name: told[field.name] for field in fields(config_type)}
    assert (type(strategy), asdict(strategy.config)) == (kind, own)


def test_what_the_other_form_alone_read_is_passed_over_as_ever():
    assert resolve("artsy", {"synapse_epochs": 9, "epochs": None}) == (Artsy, {})
    assert resolve("artsy", {"preset": "paper", "max_routed": 9}) == (ArtsyPaper, {})


@pytest.mark.parametrize("preset", ["papers", "", None, 1, ["paper"], {}])
def test_refuses_a_preset_that_there_never_was(preset, backbone):
    with pytest.raises(ConfigError, match=r"^preset is "):
        create_strategy("artsy", {"preset": preset}, backbone)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("artsy_paper", {"preset": "paper"}),
        ("artsy_paper", {"shrinkage": 0.1}),
        ("artsy_paper", {"epochs": None}),
        ("ease", {"preset": "paper"}),
        ("artsy", {"preset": "paper", "gate": "frozen"}),
    ],
)
def test_only_artsy_was_ever_spelled_so(name, config, backbone):
    with pytest.raises(ConfigError):
        create_strategy(name, config, backbone)


def test_a_configuration_is_written_as_another_was():
    own = {"epochs": 20}

    assert spelled_like("artsy", EARLIER, "artsy_gaussian", own) == {
        "preset": "consolidated",
        **own,
    }
    assert spelled_like("artsy", {"epochs": 3}, "artsy", own) == own
    # A task may have named another preset than its learner's.
    assert spelled_like("artsy", EARLIER, "artsy_paper", own) == {"preset": "paper", **own}
    assert spelled_like("artsy", {"epochs": 3}, "artsy_paper", own) == {"preset": "paper", **own}
    assert spelled_like("artsy_paper", {"epochs": 3}, "artsy_paper", own) == own
