"""Trainings that judge a sub-network: how many there are, and when the rest of them is spared."""

import pytest
import torch

from models.strategies.artsy import trial as module
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.strategy import Artsy
from models.strategies.artsy.verdict import PARTS


@pytest.fixture
def count(monkeypatch):
    """Keeps the `seeds` of trainings, in order; above 0, `harm` is how far what comes out of them is from any sense."""
    train = module.train_subnetwork

    def counted(*given, **named):
        own, loss = train(*given, **named)
        counted.seeds.append(given[1].seed)
        if counted.harm:
            with torch.no_grad():
                for parameter in own.parameters():
                    parameter.copy_(counted.harm * torch.randn_like(parameter))
        return own, loss

    counted.seeds, counted.harm = [], 0.0
    monkeypatch.setattr(module, "train_subnetwork", counted)
    return counted


def verdict_of(backbone, task, **config):
    strategy = Artsy(backbone, ArtsyConfig(epochs=1, least_steps=3, bottleneck=4, **config))
    strategy.learn(task)
    return strategy.consolidate([task], seed=7)


@pytest.fixture
def task(make_task, monkeypatch):
    """Images that are easy to tell apart, and tried all the same."""
    monkeypatch.setattr(module.Trial, "_has_nothing_to_gain", lambda *given: False)
    return make_task(1, ("a", "b", "c", "d"), n=6)


def test_few_images_are_judged_in_turn(backbone, task, count, monkeypatch):
    monkeypatch.setattr(module, "is_hopeless", lambda *losses: False)

    report = verdict_of(backbone, task)

    assert len(count.seeds) == len(set(count.seeds)) == PARTS
    assert report.details["n"] == 24 + len(task.held_out_labels)


def test_what_is_hopeless_after_some_parts_is_given_up(backbone, task, count):
    count.harm = 3.0

    report = verdict_of(backbone, task)

    assert not report.adopted
    assert len(count.seeds) < PARTS
    assert report.details["gain"] + 2 * report.details["standard_error"] < 0.01
    assert 10 <= report.details["n"] < 24 + len(task.held_out_labels)


def test_where_nothing_is_to_be_decided_one_part_tells(backbone, task, count):
    count.harm = 3.0

    report = verdict_of(backbone, task, adapt="always")

    assert report.adopted
    assert count.seeds == [7]
