"""A pass as one graph is the pass that PyTorch makes, but for rounding."""

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch

from models import artifact, onnx_graphs, onnx_pass
from models.adapter import Adapter
from models.backbone import (
    BUNDLED,
    FEW,
    TOGETHER,
    Backbone,
    Preprocessing,
    build_vit,
    load_backbone,
)
from models.errors import BackboneError
from models.onnx_pass import OnnxPass
from models.strategies.catalog import create_strategy

ROUNDING = 1e-4
SIZE = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 2,
    "num_classes": 0,
}
VITS = {
    "plain": {},
    "registers": {"reg_tokens": 4, "qk_norm": True, "init_values": 0.1},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "normed before": {"pre_norm": True, "no_embed_class": True},
    "stem": {"patch_size": 2, "stem": {"channels": [4, 8, 8], "stride": [2, 2, 1]}},
    "attention pooling": {"class_token": False, "global_pool": "map"},
}


def trained(backbone: Backbone, *, bottleneck: int, first: int = 0) -> Adapter:
    """Return a sub-network that changes features much."""
    generator = torch.Generator().manual_seed(bottleneck)
    width, depth = backbone.feature_width, backbone.depth
    adapter = Adapter(width=width, depth=depth, bottleneck=bottleneck, first=first)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return adapter.freeze()


def some_images(backbone: Backbone, n: int) -> torch.Tensor:
    size, generator = backbone.image_size, torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)


def lie_near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    assert found.shape == expected.shape
    return bool((found - expected).abs().max() <= ROUNDING * expected.abs().max())


@pytest.fixture(scope="module")
def in_both():
    """Two equal tiny backbones; the second leaves its passes to a graph."""
    ours, other = load_backbone("tiny"), load_backbone("tiny")
    other.graph = OnnxPass(other)
    return ours, other


@pytest.mark.parametrize("pooling", ["backbone", "token_and_patches"])
@pytest.mark.parametrize("n", [1, 3, 65])
def test_any_number_of_images_becomes_the_same_features(in_both, n, pooling):
    plain, as_graph = in_both
    images = some_images(plain, n)

    for adapter in (None, trained(plain, bottleneck=4)):
        expected = plain.embed(images, adapter, pooling=pooling)
        assert lie_near(as_graph.embed(images, adapter, pooling=pooling), expected)


def test_no_image_becomes_no_features(in_both):
    nothing = in_both[1].embed(some_images(in_both[0], 0), pooling="token_and_patches")

    assert nothing.shape == (0, 64)


def test_one_graph_runs_sub_networks_of_any_width_and_place(in_both):
    plain, as_graph = in_both
    images = some_images(plain, 2)
    adapters = [
        trained(plain, bottleneck=64),
        None,
        trained(plain, bottleneck=1, first=1),
        trained(plain, bottleneck=7),
    ]

    expected = plain.embed_each(images, adapters)
    found = as_graph.embed_each(images, adapters)

    assert all(lie_near(*pair) for pair in zip(found, expected, strict=True))
    assert not lie_near(expected[0], expected[1])
    assert not lie_near(expected[2], expected[1])


@pytest.mark.parametrize("sizes", [[1], [3, 1], [1, 0, 2, 1], [5, 9, 8, 8, 1, 20, 1], [0]])
def test_batches_under_sub_networks_of_their_own_go_through_together(in_both, sizes, monkeypatch):
    plain, as_graph = in_both
    kinds = [
        trained(plain, bottleneck=6),
        None,
        trained(plain, bottleneck=3, first=2),
        trained(plain, bottleneck=6, first=1),
    ]
    images = some_images(plain, sum(sizes)).split(sizes)
    looks = [(mine, kinds[i % len(kinds)]) for i, mine in enumerate(images)]
    expected = [plain.embed(mine, adapter, pooling="token_and_patches") for mine, adapter in looks]
    calls, graph = [], as_graph.graph

    def counted(images, *adapters):
        calls.append(len(images))
        return graph(images, *adapters)

    monkeypatch.setattr(as_graph, "graph", counted)
    found = as_graph.embed_own(looks, pooling="token_and_patches")

    assert all(lie_near(*pair) for pair in zip(found, expected, strict=True) if len(pair[1]))
    assert [len(features) for features in found] == sizes
    alone = sum(size > FEW for size in sizes)
    together = sum(size for size in sizes if size <= FEW)
    assert len(calls) - alone <= -(-together // FEW)
    assert max(calls, default=0) <= max(TOGETHER, *sizes)
    same = plain.embed_own(looks, pooling="token_and_patches")
    assert all(torch.equal(*pair) for pair in zip(same, expected, strict=True))


@pytest.mark.parametrize("kind", VITS)
def test_vision_transformers_of_many_kinds_run(kind):
    torch.manual_seed(0)
    backbone = Backbone(kind, build_vit(SIZE | VITS[kind]), Preprocessing(image_size=32))
    images, adapter = some_images(backbone, 3), trained(backbone, bottleneck=5, first=1)
    expected = backbone.embed(images, adapter, pooling="token_and_patches")

    backbone.graph = OnnxPass(backbone)

    assert lie_near(backbone.embed(images, adapter, pooling="token_and_patches"), expected)


def test_the_bundled_backbone_runs_from_many_threads():
    backbone = load_backbone(BUNDLED)
    images, adapter = some_images(backbone, 4), trained(backbone, bottleneck=8, first=10)
    expected = backbone.embed(images, adapter)
    backbone.graph = OnnxPass(backbone)
    start = threading.Barrier(4)

    def embed(i: int) -> torch.Tensor:
        start.wait()
        return backbone.embed(images[i : i + 1], adapter)

    with ThreadPoolExecutor(4) as pool:
        assert lie_near(torch.cat(list(pool.map(embed, range(4)))), expected)


def test_a_learner_answers_as_without(in_both, make_task):
    plain, as_graph = in_both
    config = {"adapt": "always", "epochs": 2, "threshold": 0.0}
    learner = create_strategy("artsy", config, plain)
    for index, labels in enumerate((("red", "green"), ("blue", "grey")), 1):
        task = make_task(index, labels)
        learner.learn(task)
        learner.consolidate([task], seed=7)
    for group in learner.history.subnetworks:  # whether they earn their pass hangs on rounding
        for index, subnetwork in group.items():
            group[index] = subnetwork.with_threshold(0.0)
    learner.prepare()
    packed = artifact.pack(learner, seed=7, code_versions={})
    other = artifact.load(packed.manifest, packed.files.__getitem__, as_graph)
    images = make_task(0, ("red", "blue", "pink")).images

    expected, found = learner.predict(images), other.predict(images)

    assert torch.allclose(found.probabilities, expected.probabilities, atol=1e-3)
    assert torch.equal(found.probabilities.argmax(dim=1), expected.probabilities.argmax(dim=1))
    # Two dozen images of noise lie so close to each other that rounding moves them among themselves.
    assert torch.allclose(found.novelty, expected.novelty, atol=0.02)
    assert torch.equal(found.functional, expected.functional)
    assert found.passes.max() > 1  # sub-networks of their own were passed


def test_without_its_packages_it_says_so(backbone, monkeypatch):
    monkeypatch.setattr(
        onnx_graphs, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )

    with pytest.raises(BackboneError, match="onnxruntime"):
        OnnxPass(backbone)


def test_what_cannot_be_exported_is_refused(backbone, monkeypatch):
    monkeypatch.setattr(onnx_graphs, "OPSET", 10_000)

    with pytest.raises(BackboneError, match="tiny cannot be run as one graph"):
        OnnxPass(backbone)


def test_a_graph_that_answers_otherwise_is_refused(backbone, monkeypatch):
    right = onnx_pass._bottleneck
    monkeypatch.setattr(onnx_pass, "_bottleneck", lambda weights, x: 2 * right(weights, x))

    with pytest.raises(BackboneError, match="answers otherwise"):
        OnnxPass(backbone)
