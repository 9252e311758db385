"""How versions get into memory."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch
from structlog.testing import capture_logs

from models.errors import BackboneError, CheckpointError
from service.inference.snapshots import VersionLoader
from service.metrics import Metrics
from service.problems import Problem

A_WHILE_S = 60.0


@pytest.fixture
def joining(app, monkeypatch):
    """Loads wait until somebody else asks for the same version; returns what is loaded."""
    joined, loads = threading.Event(), []
    loader = app.state.context.loader
    load = loader._load

    class Joined(Future):
        def result(self, timeout=None):
            joined.set()
            return super().result(timeout)

    def joined_load(address):
        loads.append(address.version)
        assert joined.wait(A_WHILE_S)
        return load(address)

    monkeypatch.setattr("service.inference.snapshots.Future", Joined)
    monkeypatch.setattr(loader, "_load", joined_load)
    return loads


def ask_twice(app, taught):
    """Ask for the live version as a request and the watcher do, at once."""
    context = app.state.context
    address = context.store.live_address(taught)
    with ThreadPoolExecutor(2) as pool:
        return [pool.submit(context.loader.load, address) for _ in range(2)]


def test_a_version_that_is_being_loaded_is_waited_for(client, taught, app, joining):
    first, second = (asked.result() for asked in ask_twice(app, taught))
    assert first is second
    assert (first.version, joining) == (1, [1])


def test_who_waits_for_a_version_that_cannot_be_loaded_is_told_so(
    client, taught, app, joining, monkeypatch
):
    def fail(*more, **others):
        raise CheckpointError("This version was learned on other weights.")

    monkeypatch.setattr("service.inference.snapshots.artifact.load", fail)
    for asked in ask_twice(app, taught):
        with pytest.raises(Problem, match="other weights"):
            asked.result()
    assert joining == [1]


def test_on_a_processor_passes_run_as_one_graph(client, taught, app):
    backbone = app.state.context.loader.backbone("tiny")

    assert backbone.graph is not None


def test_pytorch_runs_them_where_the_operator_wants_it(settings, blobs):
    assert a_loader(settings, blobs, as_graph=False).backbone("tiny").graph is None


def test_pytorch_runs_what_no_graph_can(settings, blobs, monkeypatch):
    def fail(backbone):
        raise BackboneError("The packages onnx and onnxruntime are not installed.")

    monkeypatch.setattr("service.inference.snapshots.OnnxPass", fail)
    with capture_logs() as logs:
        backbone = a_loader(settings, blobs, as_graph=True).backbone("tiny")

    assert backbone.graph is None
    assert [(log["event"], log["backbone"]) for log in logs] == [("backbone_without_graph", "tiny")]
    assert "onnxruntime" in logs[0]["reason"]


def a_loader(settings, blobs, *, as_graph):
    return VersionLoader(
        blobs,
        device=torch.device("cpu"),
        weights=settings.backbone_weights,
        metrics=Metrics(),
        as_graph=as_graph,
    )
