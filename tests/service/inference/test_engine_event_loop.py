"""The event loop computes nothing to answer a prediction, not even a copy: threads do all of it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.factories import make_image

PNG = {"Content-Type": "image/png"}


class Watched(TorchDispatchMode):
    """Notes what PyTorch computes on the thread that entered it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def watched(client, taught):
    """What PyTorch computes on the event loop's thread while a test runs."""
    mode = Watched()
    client.portal.call(mode.__enter__)
    yield mode.seen
    client.portal.call(mode.__exit__, None, None, None)


def test_a_prediction_computes_nothing_on_the_event_loop(client, taught, watched):
    answer = client.post(
        f"/v1/learners/{taught}/predictions", content=make_image("heron", 99), headers=PNG
    )

    assert answer.status_code == 200
    assert answer.json()["results"][0]["label"] in ("heron", "egret")
    assert not watched


def test_what_the_event_loop_computes_is_seen(client, watched):
    client.portal.call(lambda: torch.ones(2) + 1)
    assert any("add" in name for name in watched)
