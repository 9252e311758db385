"""What a learn process keeps loaded."""

import pytest
import safetensors.torch
import timm
import torch

from models.errors import BackboneError
from models.strategies.simplecil import SimpleCIL
from registry.errors import BlobMissingError
from tests.worker.learned import put, task_of
from worker.settings import WorkerSettings
from worker.warm import Warm

VIT = "vit_tiny_patch16_224"


@pytest.fixture
def weights(tmp_path):
    """A function that writes weights of a small transformer of timm, filled with a number."""
    folder = tmp_path / "weights"
    folder.mkdir()

    def write(value):
        state = timm.create_model(VIT, num_classes=0).state_dict()
        filled = {key: torch.full_like(tensor, value) for key, tensor in state.items()}
        safetensors.torch.save_file(filled, folder / f"{VIT}.safetensors")

    write(0.5)
    return write


@pytest.fixture
def warm(tmp_path, weights):
    return Warm(
        WorkerSettings(
            data_dir=tmp_path,
            device="cpu",
            torch_threads=1,
            backbone_weights=tmp_path / "weights",
        )
    )


@pytest.fixture
def addresses(blobs, warm):
    """Of two learners that differ."""
    found = []
    for label in ("heron", "egret"):
        strategy = SimpleCIL(warm.backbone("tiny"), SimpleCIL.config_type())
        strategy.learn(task_of(strategy.backbone, 1, label, "crane"))
        found.append(put(blobs, strategy))
    return found


def test_the_last_two_backbones_are_kept(warm):
    tiny = warm.backbone("tiny")
    assert warm.backbone("tiny") is tiny
    bundled, small = warm.backbone("bundled"), warm.backbone(VIT)
    assert (warm.backbone(VIT), warm.backbone("bundled")) == (small, bundled)
    assert warm.backbone("tiny") is not tiny
    assert warm.backbone(VIT) is not small
    with pytest.raises(BackboneError):
        warm.backbone("no such")


def test_weights_that_an_operator_has_replaced_are_loaded(warm, weights):
    before = warm.backbone(VIT)
    weights(0.25)
    assert warm.backbone(VIT).fingerprint != before.fingerprint


def test_the_last_learner_is_kept_by_what_it_is(warm, addresses, blobs):
    backbone = warm.backbone("tiny")
    first, second = addresses
    learner = warm.learner(first, blobs, backbone)
    assert warm.learner(first, blobs, backbone) is learner
    assert warm.learner(second, blobs, backbone).classes_ == ("egret", "crane")
    blobs.delete(first)
    with pytest.raises(BlobMissingError):
        warm.learner(first, blobs, backbone)


def test_a_learner_on_another_object_of_its_backbone_is_loaded_again(warm, addresses, blobs):
    learner = warm.learner(addresses[0], blobs, warm.backbone("tiny"))
    for name in ("bundled", VIT):
        warm.backbone(name)
    again = warm.backbone("tiny")
    assert warm.learner(addresses[0], blobs, again).backbone is again
    assert learner.backbone is not again


def test_a_large_learner_is_not_kept(warm, addresses, blobs, monkeypatch):
    monkeypatch.setattr("worker.warm.MOST_LEARNER_BYTES", 10)
    learner = warm.learner(addresses[0], blobs, warm.backbone("tiny"))
    assert warm.learner(addresses[0], blobs, warm.backbone("tiny")) is not learner


def test_what_was_just_published_is_kept_as_it_is_if_it_is_not_too_large(
    warm, addresses, blobs, monkeypatch
):
    backbone = warm.backbone("tiny")
    learner = warm.learner(addresses[0], blobs, backbone)
    warm.keep("just published", learner, 1000)
    assert warm.learner("just published", blobs, backbone) is learner
    warm.forget_learner()
    with pytest.raises(BlobMissingError):
        warm.learner("just published", blobs, backbone)
    monkeypatch.setattr("worker.warm.MOST_LEARNER_BYTES", 999)
    warm.keep("too large", learner, 1000)
    with pytest.raises(BlobMissingError):
        warm.learner("too large", blobs, backbone)


def test_what_images_look_like_is_kept_of_one_learner_until_it_is_let_go(warm):
    tiny = warm.backbone("tiny")
    known = warm.known_images("first", tiny)
    assert warm.known_images("first", tiny) is known
    assert warm.known_images("second", tiny) is not known
    known = warm.known_images("second", tiny)
    assert warm.known_images("second", warm.backbone("bundled")) is not known
    for let_go in (warm.forget_images, warm.forget_learner):
        known = warm.known_images("first", tiny)
        let_go()
        assert warm.known_images("first", tiny) is not known
