"""Versions in memory stay within a bound of bytes; what was dropped answers all the same."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.backbone import load_backbone
from service.inference.footprint import tensor_bytes
from service.inference.snapshots import Snapshot
from service.inference.store import SnapshotStore
from service.metrics import Metrics
from tests.factories import make_image
from tests.service.api import image_files
from tests.waiting import wait_until

KILO = 1024


def sized(learner, version=1, kilobytes=1):
    strategy = SimpleNamespace(state=torch.zeros(kilobytes * KILO, dtype=torch.uint8))
    backbone = SimpleNamespace(name="tiny")
    return Snapshot(f"lrn_{learner}", learner, version, strategy, backbone)


def store_of(kilobytes, older_versions=4):
    return SnapshotStore(
        older_versions=older_versions, metrics=Metrics(), max_bytes=kilobytes * KILO
    )


def in_memory(store, *names):
    return [name for name in names if (f"lrn_{name}", 1) in store._loaded]


def test_each_memory_is_counted_once_and_backbones_are_not():
    shared = torch.zeros(100, dtype=torch.float32)
    strategy = SimpleNamespace(
        backbone=load_backbone("tiny"),
        module=torch.nn.Linear(10, 10, bias=False),
        tensors=[shared, shared[:50], {"deep": (shared.view(10, 10),)}],
        array=np.zeros(25, np.float64),
    )
    strategy.itself = strategy
    assert tensor_bytes(strategy) == 400 + 400 + 200


def test_those_used_longest_ago_go_first_and_stay_known():
    store = store_of(3)
    for name in "abc":
        store.swap(sized(name))
    assert store.live("a").learner == "a"
    store.swap(sized("d"))
    assert in_memory(store, *"abcd") == ["a", "c", "d"]
    assert store.live("b") is None
    assert store.live_address("b").version == 1
    assert [address.learner for address in store.all_live()] == ["a", "b", "c", "d"]
    assert store._metrics.versions_dropped._value.get() == 1
    assert store._metrics.loaded_bytes._value.get() == 3 * KILO
    store.keep(sized("b"))
    assert in_memory(store, *"abcd") == ["a", "b", "d"]


def test_one_that_is_larger_than_the_bound_is_served():
    store = store_of(2)
    store.swap(sized("a"))
    store.swap(sized("large", kilobytes=5))
    assert in_memory(store, "a", "large") == ["large"]
    assert store.live("large").learner == "large"


def test_what_grows_when_it_is_used_is_weighed_again():
    store = store_of(4)
    for name in "ab":
        store.swap(sized(name))
    store.live("b").strategy.factors = torch.zeros(3 * KILO, dtype=torch.uint8)
    store.weigh_used()
    assert in_memory(store, *"ab") == ["b"]


def test_a_new_version_of_another_learner_of_the_name_leaves_nothing_of_the_old_one():
    store = store_of(9)
    store.swap(sized("a"))
    again = Snapshot("lrn_new", "a", 1, *(getattr(sized("a"), n) for n in ("strategy", "backbone")))
    store.swap(again)
    assert store.live("a") is again
    assert in_memory(store, "a") == []
    store.adopt(sized("a"))
    assert store.live("a") is again


def test_a_version_that_was_replaced_is_in_memory_only_once_it_is_asked_for():
    store = store_of(9)
    for version in (1, 2, 3):
        store.swap(sized("a", version))
    assert store.loaded_older() == []
    store.keep(sized("a", 1))
    store.swap(sized("a", 4))
    store.swap(sized("a", 4))
    assert store.loaded_older() == [("lrn_a", 1)]
    assert store.live("a").version == 4
    assert store._metrics.loaded_bytes._value.get() == 2 * KILO


def test_versions_that_come_one_after_the_other_take_no_more_memory_than_one():
    store, megabytes = store_of(1 << 20), 64
    before = rss_mib()
    for version in range(1, 9):
        strategy = SimpleNamespace(
            # In pieces as small as those of learners, which the C library would rather keep.
            state=[torch.ones(64 * KILO, dtype=torch.uint8) for _ in range(megabytes * KILO // 64)]
        )
        store.swap(Snapshot("lrn_a", "a", version, strategy, SimpleNamespace(name="tiny")))
        del strategy
    assert rss_mib() - before < 1.6 * megabytes


def rss_mib():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / KILO


@pytest.fixture
def settings(settings):
    """Room for one version only."""
    return settings.model_copy(update={"max_loaded_bytes": 1})


@pytest.fixture
def learners(client, taught, learn):
    """Three learners, each with a live version."""
    names = [taught, "boats", "bikes"]
    for name in names[1:]:
        body = {"name": name, "strategy": "simplecil", "backbone": "tiny"}
        assert client.post("/v1/learners", json=body).status_code == 201
        files = image_files(("red", "blue"))
        learn(client.post(f"/v1/learners/{name}/tasks", files=files).json()["id"])
        wait_until(lambda name=name: ask(client, name).status_code == 200)
    return names


def ask(client, name, query=""):
    return client.post(
        f"/v1/learners/{name}/predictions{query}",
        content=make_image("heron", 7),
        headers={"Content-Type": "image/png"},
    )


def metric(client, name):
    return float(re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.MULTILINE)[1])


def test_dropped_versions_answer_as_before_also_without_the_database(client, learners, app):
    context = app.state.context
    answers = [ask(client, name).json()["results"] for name in learners]
    assert metric(client, "filopodia_versions_loaded") == 1
    assert metric(client, "filopodia_versions_dropped_total") >= 2
    context.watcher.stop()
    context.watcher._note_database(is_up=False)
    before = metric(client, "filopodia_versions_loaded_on_request_total")
    assert [ask(client, name).json()["results"] for name in learners] == answers
    assert metric(client, "filopodia_versions_loaded_on_request_total") >= before + 2
    loaded = client.get("/readyz").json()["loaded"]
    assert sorted(one["learner"] for one in loaded) == sorted(learners)


def test_the_watcher_leaves_what_was_dropped_alone(client, learners, app, monkeypatch):
    context = app.state.context
    loads = []
    monkeypatch.setattr(context.loader, "load", lambda address: loads.append(address))
    for _ in range(3):
        context.watcher.look()
    assert loads == []
    assert context.watcher.failing() == {}


def test_many_who_want_a_dropped_version_have_it_loaded_once(client, learners, app, monkeypatch):
    loader = app.state.context.loader
    load, loads = loader.load, []

    def counted(address):
        loads.append(address.learner)
        return load(address)

    monkeypatch.setattr(loader, "load", counted)
    ask(client, learners[1])
    loads.clear()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(client, learners[0]), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert loads == [learners[0]]


def test_an_older_version_is_loaded_beside_and_erased_ones_are_not(client, learners, teach):
    name = learners[0]
    assert teach(("owl", "wren"))["version"] == 2
    wait_until(lambda: ask(client, name).json()["version"] == 2)
    assert ask(client, name, "?version=1").json()["version"] == 1
    assert ask(client, name, "?min_version=2").json()["version"] == 2
    assert ask(client, name, "?version=9").status_code == 404
