import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from models.adapter import Adapter
from models.backbone import Backbone, Preprocessing
from models.passes import finish_to_features, first_difference

DEPTH = 3
FORMS = {
    "plain": {},
    "mean of patches": {"global_pool": "avg"},
    "mean of everything": {"global_pool": "avgmax"},
    "registers": {"reg_tokens": 4},
    "no bias": {"qkv_bias": False},
    "normed queries": {"qk_norm": True},
    "layer scale": {"init_values": 0.1},
}


@pytest.fixture(params=FORMS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    form = {"embed_dim": 24, "depth": DEPTH, "num_heads": 3, "num_classes": 0}
    vit = VisionTransformer(img_size=32, patch_size=8, **form, **FORMS[request.param])
    return Backbone("tried", vit, Preprocessing(image_size=32))


def drawn(*, first: int = 0, seed: int = 1) -> Adapter:
    torch.manual_seed(seed)
    adapter = Adapter(width=24, depth=DEPTH, bottleneck=4, first=first)
    for block in range(first, DEPTH):
        torch.nn.init.normal_(adapter.at(block).up.weight)
    return adapter.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("block", range(DEPTH))
@pytest.mark.parametrize("first", [None, *range(DEPTH)])
def test_a_pass_that_stopped_ends_as_a_whole_one(backbone, images, first, block):
    adapter = None if first is None else drawn(first=first)

    found = backbone.finish_features(backbone.begin(images, adapter, block), adapter)

    torch.testing.assert_close(found, backbone(images, adapter), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", range(DEPTH))
def test_gradients_are_those_of_a_whole_pass(backbone, images, block):
    adapter, weight = drawn(), torch.randn(backbone.feature_width)
    learning = adapter.thaw(block)
    adapter.eval()

    (backbone(images, adapter) @ weight).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in learning]
    adapter.zero_grad()
    with torch.no_grad():
        midway = backbone.begin(images, adapter, block)
    (finish_to_features(backbone.vit, midway, adapter) @ weight).square().sum().backward()

    for parameter, gradient in zip(learning, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-4, rtol=1e-4)


def test_finds_the_first_block_in_which_subnetworks_differ():
    adapter = drawn()
    other = adapter.clone()
    with torch.no_grad():
        other.at(1).up.bias += 1

    assert first_difference([adapter, other], DEPTH) == 1
    assert first_difference([adapter, adapter.clone()], DEPTH) == DEPTH - 1
    assert first_difference([None, adapter], DEPTH) == 0
    assert first_difference([None, drawn(first=1), drawn(first=2)], DEPTH) == 1
    assert first_difference([adapter], DEPTH) == DEPTH - 1


@pytest.mark.parametrize("pooling", ["backbone", "token_and_patches"])
def test_embedding_under_several_at_once_is_embedding_under_each(backbone, pooling):
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    adapter = drawn()
    others = [drawn(first=1), drawn(first=2), None, adapter.grown(adapter)]

    for asked in ([adapter, *others], others[:3], others[:2], [adapter]):
        found = backbone.embed_each(pixels, asked, pooling=pooling, batch_size=2)
        for features, one in zip(found, asked, strict=True):
            assert torch.equal(features, backbone.embed(pixels, one, pooling=pooling, batch_size=2))


def test_no_images_are_embedded_under_several(backbone):
    nothing = torch.empty(0, 3, 32, 32, dtype=torch.uint8)

    found = backbone.embed_each(nothing, [None, drawn()], pooling="token_and_patches")

    assert [tuple(features.shape) for features in found] == [(0, 48), (0, 48)]
