from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from models.adapter import Adapter
from models.backbone import (
    BUNDLED,
    WEIGHTS,
    Backbone,
    Preprocessing,
    available_backbones,
    build_vit,
    find_weights,
    is_known_backbone,
    load_backbone,
)
from models.errors import BackboneError, ShapeError

SMALL_VIT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_pass_without_adapter_is_timms_own_forward(backbone):
    images = torch.rand(2, 3, 32, 32)

    expected = backbone.vit((images - 0.5) / 0.5)

    assert torch.allclose(backbone(images), expected, atol=1e-6)


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_does(backbone):
    images = torch.rand(2, 3, 32, 32)
    adapter = Adapter(width=32, depth=2, bottleneck=4).eval()
    assert torch.equal(backbone(images, adapter), backbone(images))

    torch.nn.init.normal_(adapter.at(0).up.weight)

    assert not torch.allclose(backbone(images, adapter), backbone(images))


def test_bytes_and_fractions_embed_alike(backbone):
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)

    assert torch.equal(backbone(pixels), backbone(pixels / 255))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 8), (100, 40), (33, 500)])
def test_preprocessing_gives_the_input_size(backbone, height, width):
    prepared = backbone.preprocess(image(height, width))

    assert prepared.shape == (3, 32, 32)
    assert prepared.dtype == torch.uint8


def test_preprocessing_crops_the_centre(backbone):
    picture = np.zeros((32, 96, 3), dtype=np.uint8)
    picture[:, 32:64] = 200

    assert (backbone.preprocess(picture) == 200).all()


def test_preprocessing_refuses_what_is_not_rgb(backbone):
    with pytest.raises(ShapeError):
        backbone.preprocess(np.zeros((32, 32), dtype=np.uint8))


def test_the_fingerprint_tells_weights_and_preprocessing_apart(backbone):
    assert load_backbone("tiny").fingerprint == backbone.fingerprint
    other = Backbone("tiny", backbone.vit, Preprocessing(image_size=32, interpolation="bilinear"))
    assert other.fingerprint != backbone.fingerprint


def test_the_bundled_backbone_loads_offline_and_is_small():
    backbone = load_backbone(BUNDLED)

    assert backbone.embed(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).isfinite().all()
    assert (WEIGHTS / "bundled.safetensors").stat().st_size <= 12e6


def test_a_convolutional_stem_gives_the_same_features_with_its_norms_folded():
    stem = {"channels": [4, 8, 8], "stride": [2, 2, 1]}
    size = {"img_size": 32, "patch_size": 2, "embed_dim": 32, "depth": 1, "num_heads": 2}
    vit = build_vit({**size, "num_classes": 0, "stem": stem}).eval()
    for name, buffer in vit.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2.0)
    images = torch.rand(2, 3, 32, 32)
    expected = vit((images - 0.5) / 0.5)

    backbone = Backbone("stemmed", vit, Preprocessing(image_size=32))

    assert vit.patch_embed.num_patches == 16
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in vit.modules())
    assert torch.allclose(backbone(images), expected, atol=1e-5)


def test_a_timm_vit_loads_from_the_operators_file(tmp_path: Path):
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=224)
    file = tmp_path / f"{SMALL_VIT}.fp16.safetensors"
    tensors = {key: tensor.half() for key, tensor in vit.state_dict().items()}
    safetensors.torch.save_file(tensors, file)

    backbone = load_backbone(SMALL_VIT, weights=tmp_path)

    assert (backbone.image_size, backbone.feature_width, backbone.depth) == (224, 192, 12)
    assert backbone.preprocessing.mean == (0.5, 0.5, 0.5)
    assert torch.equal(backbone.vit.cls_token, vit.cls_token.half().float())


def test_weights_of_another_architecture_are_refused(tmp_path: Path):
    file = tmp_path / f"{SMALL_VIT}.safetensors"
    safetensors.torch.save_file({"cls_token": torch.zeros(1, 1, 192)}, file)

    with pytest.raises(BackboneError, match="another architecture"):
        load_backbone(SMALL_VIT, weights=file)


def test_damaged_weights_are_refused(tmp_path: Path):
    file = tmp_path / f"{SMALL_VIT}.safetensors"
    file.write_bytes(b"not safetensors")

    with pytest.raises(BackboneError, match="not readable"):
        load_backbone(SMALL_VIT, weights=file)


def test_a_file_serves_only_the_backbone_it_is_named_after(tmp_path: Path):
    file = tmp_path / f"{SMALL_VIT}.fp16.safetensors"
    file.touch()

    assert find_weights(SMALL_VIT, tmp_path) == file
    assert find_weights("vit_tiny_patch16_224.augreg", tmp_path) is None
    assert find_weights(SMALL_VIT, None) is None


def test_knows_backbones_without_loading_them():
    assert is_known_backbone("bundled")
    assert is_known_backbone(SMALL_VIT)
    assert not is_known_backbone("vit_of_my_dreams.v1")
    assert not is_known_backbone("resnet50.a1_in1k")
    with pytest.raises(BackboneError):
        load_backbone("vit_of_my_dreams.v1")


def test_lists_where_weights_come_from(tmp_path: Path):
    (tmp_path / f"{SMALL_VIT}.safetensors").touch()

    sources = {info.name: info.source for info in available_backbones(tmp_path)}

    assert sources["bundled"] == "bundled"
    assert sources[SMALL_VIT] == "file"
    assert sources["vit_base_patch16_224.augreg_in21k"] == "hub"


def test_the_random_backbone_does_not_depend_on_what_other_threads_draw(backbone):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(load_backbone, ["tiny"] * 12))

    assert {other.fingerprint for other in found} == {backbone.fingerprint}


@pytest.mark.parametrize("name", ["tiny", "bundled"])
def test_patches_join_the_features_of_the_same_pass(name):
    backbone = load_backbone(name)
    size = backbone.image_size
    images = torch.randint(0, 256, (3, 3, size, size), generator=torch.Generator().manual_seed(1))
    images = images.to(torch.uint8)
    both = backbone.embed(images, pooling="token_and_patches")
    plain = backbone.embed(images)
    assert both.shape == (3, backbone.width_of("token_and_patches")) == (3, 2 * plain.shape[1])
    torch.testing.assert_close(both[:, : plain.shape[1]], plain)
    vit = backbone.vit
    tokens = vit.forward_features((images / 255 - backbone.mean) / backbone.std)
    patches = tokens[:, vit.num_prefix_tokens :].mean(dim=1)
    torch.testing.assert_close(both[:, plain.shape[1] :], patches, rtol=1e-3, atol=1e-4)
    assert backbone.embed(images[:0], pooling="token_and_patches").shape == (0, both.shape[1])
