import threading
import time
from types import SimpleNamespace

import pytest
import torch

from models.strategies.values import Prediction
from service.inference.engine import InferenceEngine
from service.inference.snapshots import Snapshot
from service.inference.store import SnapshotStore
from service.metrics import Metrics
from service.problems import Problem
from service.settings import ServiceSettings
from tests.waiting import within


class CountingStrategy:
    """Answers every image with its own mean, and notes the batches. `gate` holds the device back."""

    def __init__(self):
        self.batches = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.config = SimpleNamespace()

    def predict(self, images):
        self.entered.set()
        self.gate.wait()
        self.batches.append(len(images))
        if images.max() == 255:
            raise RuntimeError("the device failed")
        n = len(images)
        mean = images.float().mean(dim=(1, 2, 3))
        return Prediction(
            probabilities=torch.stack([mean, 1 - mean], dim=1),
            novelty=torch.zeros(n),
            currents=torch.zeros(n, 1),
            thresholds=torch.ones(1),
            functional=torch.zeros(n, 1, dtype=torch.bool),
            passes=torch.ones(n, dtype=torch.int64),
        )


def images(*values):
    return torch.stack([torch.full((3, 4, 4), value, dtype=torch.uint8) for value in values])


def snapshot(strategy, version=1):
    return Snapshot("lrn_1", "birds", version, strategy, SimpleNamespace(name="tiny"))


@pytest.fixture
def start():
    engines = []

    def build(**changed):
        fields = {"device": "cpu", "max_batch": 4, "batch_wait_ms": 50, **changed}
        engine = InferenceEngine(ServiceSettings(**fields), Metrics())
        engine.start()
        engines.append(engine)
        return engine

    yield build
    for engine in engines:
        engine.stop()


def test_each_request_gets_its_own_rows(start):
    engine, strategy = start(), CountingStrategy()
    strategy.gate.clear()
    parts = [engine.submit(snapshot(strategy), images(i, i + 10)) for i in range(5)]
    strategy.gate.set()
    for i, [future] in enumerate(parts):
        assert future.result().probabilities[:, 0].tolist() == [i, i + 10]


def test_waiting_requests_share_a_batch_up_to_its_size(start):
    engine, strategy = start(), CountingStrategy()
    strategy.gate.clear()
    shared = snapshot(strategy)
    futures = engine.submit(shared, images(0))
    strategy.entered.wait()
    futures += [engine.submit(shared, images(i))[0] for i in range(1, 9)]
    strategy.gate.set()
    assert [future.result().probabilities[0, 0] for future in futures] == list(range(9))
    assert strategy.batches == [1, 4, 4]
    assert futures[8].result().batch_images == 4
    assert futures[8].result().queue_s > 0


def test_a_large_request_is_cut_and_comes_back_in_order(start):
    engine, strategy = start(), CountingStrategy()
    parts = engine.submit(snapshot(strategy), images(*range(10)))
    assert [len(part.result().passes) for part in parts] == [4, 4, 2]
    assert [v for part in parts for v in part.result().probabilities[:, 0]] == list(range(10))


def test_snapshots_are_never_mixed_in_a_batch(start):
    engine, one, two = start(), CountingStrategy(), CountingStrategy()
    one.gate.clear()
    first, second = snapshot(one, 1), snapshot(two, 2)
    futures = engine.submit(first, images(1))
    one.entered.wait()
    futures += [engine.submit(s, images(1))[0] for s in (first, second, first, second)]
    one.gate.set()
    for future in futures:
        future.result()
    assert one.batches == [1, 2]
    assert two.batches == [2]


def test_a_batch_waits_a_moment_for_announced_requests_only(start):
    engine, strategy = start(batch_wait_ms=600_000), CountingStrategy()
    shared = snapshot(strategy)
    # A batch that waited would wait a good deal longer.
    with within(10):
        engine.submit(shared, images(1))[0].result()
    with engine.arriving():
        early = engine.submit(shared, images(1))[0]
        time.sleep(0.05)
        late = engine.submit(shared, images(2))[0]
    late.result()
    assert early.result().batch_images == 2


def test_a_failing_batch_fails_its_requests_and_no_others(start):
    engine, strategy = start(), CountingStrategy()
    [bad] = engine.submit(snapshot(strategy), images(255))
    with pytest.raises(RuntimeError):
        bad.result()
    [good] = engine.submit(snapshot(strategy), images(7))
    assert good.result().probabilities[0, 0] == 7


def test_work_that_would_wait_too_long_is_refused(start):
    engine, strategy = start(max_wait_s=0.01), CountingStrategy()
    strategy.gate.clear()
    threading.Timer(0.2, strategy.gate.set).start()
    engine.submit(snapshot(strategy), images(1))[0].result()  # 0.2 s an image
    strategy.gate.clear()
    waiting = engine.submit(snapshot(strategy), images(1, 2))
    with pytest.raises(Problem) as caught:
        engine.submit(snapshot(strategy), images(3))
    assert caught.value.code == "overloaded"
    assert int(caught.value.headers["Retry-After"]) >= 1
    strategy.gate.set()
    waiting[0].result()


def test_a_cold_engine_takes_only_some_batches(start):
    engine, strategy = start(max_batch=1), CountingStrategy()
    strategy.gate.clear()
    engine.submit(snapshot(strategy), images(*[1] * 17))
    with pytest.raises(Problem):
        engine.submit(snapshot(strategy), images(1))
    strategy.gate.set()


def test_stopping_answers_what_waits_and_refuses_the_rest(start):
    engine, strategy = start(), CountingStrategy()
    strategy.gate.clear()
    futures = [engine.submit(snapshot(strategy), images(i))[0] for i in range(6)]
    threading.Timer(0.1, strategy.gate.set).start()
    engine.stop()
    assert all(future.result(0) for future in futures)
    with pytest.raises(Problem):
        engine.submit(snapshot(strategy), images(1))


def test_a_cancelled_request_is_not_scored(start):
    engine, strategy = start(max_batch=1), CountingStrategy()
    strategy.gate.clear()
    [first] = engine.submit(snapshot(strategy), images(0))
    strategy.entered.wait()
    second, third = (engine.submit(snapshot(strategy), images(i))[0] for i in (1, 2))
    assert second.cancel()
    strategy.gate.set()
    first.result()
    third.result()
    assert strategy.batches == [1, 1]


def test_the_store_keeps_the_versions_used_last():
    store = SnapshotStore(older_versions=2, metrics=Metrics())
    store.swap(snapshot(None, 3))
    for version in (1, 2):
        store.keep(snapshot(None, version))
    assert store.live("birds").version == 3
    assert store.loaded(("lrn_1", 1)).version == 1
    store.keep(snapshot(None, 4))
    assert store.loaded(("lrn_1", 2)) is None
    assert store.loaded(("lrn_1", 1)).version == 1
    store.retain(set())
    assert store.live("birds") is None
    assert store.loaded(("lrn_1", 1)) is None
