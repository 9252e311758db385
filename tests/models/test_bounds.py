from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest
import torch

from models.adapter import Adapter
from models.bounds import bounds_of, require_within
from models.errors import ConfigError
from models.strategies.catalog import CATALOG

NUMBERS = [
    pytest.param(strategy, name, bounds, id=f"{strategy.name}-{name}")
    for strategy in CATALOG
    for name, bounds in bounds_of(strategy.config_type)
]
LARGEST_VIT = {"width": 1408, "depth": 40}
"""Of the largest vision transformers that timm has weights of, ViT-g."""
MOST_BYTES = 512 << 20
"""Of one adapter, which every version of a learner may hold one of a task."""


@pytest.mark.parametrize(("strategy", "name", "bounds"), NUMBERS)
def test_every_number_has_two_bounds_and_a_reason(strategy, name, bounds):
    assert bounds is not None, f"{strategy.name}: {name} has no bounds"
    assert bounds.least < bounds.most < float("inf")
    assert bounds.why
    default = getattr(strategy.config_type(), name)
    assert default is None or bounds.hold(default)


@pytest.mark.parametrize(("strategy", "name", "bounds"), NUMBERS)
def test_more_is_refused_with_the_reason_where_it_is_asked_for(strategy, name, bounds):
    within = replace(strategy.config_type(), **{name: bounds.most})
    require_within(within)
    try:
        beyond = replace(within, **{name: bounds.most * 10})
    except ConfigError:
        return  # What cannot be at all is refused everywhere.
    require_within(beyond, names=())
    with pytest.raises(ConfigError, match=f"^{name} must be a number .*{bounds.why}"):
        require_within(beyond)


def test_the_walk_misses_no_number():
    for strategy in CATALOG:
        hints = get_type_hints(strategy.config_type)
        numbers = {
            field.name
            for field in fields(strategy.config_type)
            if {int, float} & {hints[field.name], *get_args(hints[field.name])}
        }
        assert numbers == {name for name, _ in bounds_of(strategy.config_type)}


def test_the_widest_adapter_fits_in_memory():
    widest = max(
        bounds.most
        for strategy in CATALOG
        for name, bounds in bounds_of(strategy.config_type)
        if name == "bottleneck"
    )
    with torch.device("meta"):
        adapter = Adapter(**LARGEST_VIT, bottleneck=int(widest))
    n_bytes = sum(
        parameter.numel() * parameter.element_size() for parameter in adapter.parameters()
    )
    assert n_bytes <= MOST_BYTES
