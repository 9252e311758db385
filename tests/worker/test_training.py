"""A learner that is kept in memory, and the strategy that learns on from it."""

from dataclasses import asdict

import pytest

from models.strategies.catalog import create_strategy, find_strategy
from tests.models.strategies.quick import QUICK
from tests.worker.learned import packed, put, task_of
from worker.settings import WorkerSettings
from worker.warm import Warm


@pytest.fixture(params=sorted(QUICK))
def create(request, tiny_backbone):
    """A function that makes an unlearned strategy, of every kind in turn."""
    name = request.param.split("-")[0]
    config = asdict(find_strategy(name).config_type(**QUICK[request.param]))
    return lambda: create_strategy(name, config, tiny_backbone)


def test_whoever_learns_on_neither_changes_what_is_kept_nor_learns_otherwise(
    create, tiny_backbone, blobs, tmp_path
):
    first, second, third = (
        task_of(tiny_backbone, 1, "heron", "egret"),
        task_of(tiny_backbone, 2, "crane", "stork"),
        task_of(tiny_backbone, 2, "ibis", "egret"),
    )
    learned = create()
    learned.learn(first)
    address = put(blobs, learned)
    settings = WorkerSettings(data_dir=tmp_path, device="cpu")

    def learn_on(task, warm):
        strategy = create()
        strategy.go_on_from(warm.learner(address, blobs, tiny_backbone))
        strategy.learn(task)
        return packed(strategy).manifest

    coldly = [learn_on(task, Warm(settings)) for task in (second, third, second)]
    published = Warm(settings)
    published.keep(address, learned, 1000)
    for warm in (Warm(settings), published):
        before = warm.learner(address, blobs, tiny_backbone).predict(first.images).probabilities
        assert [learn_on(task, warm) for task in (second, third, second)] == coldly
        kept = warm.learner(address, blobs, tiny_backbone)
        assert kept.predict(first.images).probabilities.equal(before)
        assert packed(kept).manifest == packed(learned).manifest
    assert kept is learned
