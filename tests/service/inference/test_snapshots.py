"""How versions get into memory."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from models.errors import CheckpointError
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
    def fail(*more):
        raise CheckpointError("This version was learned on other weights.")

    monkeypatch.setattr("service.inference.snapshots.artifact.load", fail)
    for asked in ask_twice(app, taught):
        with pytest.raises(Problem, match="other weights"):
            asked.result()
    assert joining == [1]
