import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from models.backbone import (
    BUNDLED,
    WEIGHTS,
    Backbone,
    available_backbones,
    find_weights,
    is_known_backbone,
    load_backbone,
)
from models.background import (
    FLOOR,
    WITHIN_SHARE,
    Background,
    add_nothing,
    describe,
    fewest_images,
    measure,
)
from models.background_files import SUFFIX, BackgroundInfo
from models.errors import BackboneError, ShapeError, TaskDataError
from service.cli.local.sample_pictures import draw as draw_picture
from service.intake.forms import HALVED
from service.intake.images import ImageLimits, decode_image

VIT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
OLD = Path(__file__).parent / "old_backgrounds" / f"tiny{SUFFIX}"


def draw(n: int, width: int, n_classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of classes around their own centres, whose spread differs by a factor of 1,000 between dimensions."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % n_classes
    mixing = torch.eye(width) + torch.randn(width, width, generator=generator) / (2 * width**0.5)
    rows = torch.randn(n, width, generator=generator) @ mixing
    centres = 3 * torch.randn(n_classes, width, generator=generator)
    return (rows + centres[targets]) * torch.logspace(-2, 1, width), targets


def covariances(features: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values = features.double()
    n, k = len(values), len(targets.unique())
    centred = torch.cat([values[targets == c] - values[targets == c].mean(0) for c in range(k)])
    return torch.cov(values.T), centred.T @ centred / (n - k)


def background_of(backbone: Backbone, path: Path, seed: int = 0) -> bytes:
    """Write a background of drawn features for a backbone."""
    features, targets = draw(400, backbone.width_of("token_and_patches"), 8, seed)
    data = measure(features, targets, fingerprint=backbone.fingerprint)
    path.write_bytes(data)
    return data


@pytest.mark.parametrize("width", [16, 120])
def test_what_is_read_back_is_what_was_measured(width):
    features, targets = draw(4000, width, 10)
    total, within = covariances(features, targets)

    background = Background.of(features, targets, fingerprint="abc")

    assert (background.fingerprint, background.n_images, background.n_classes) == ("abc", 4000, 10)
    torch.testing.assert_close(
        background.mean, features.double().mean(0), rtol=1e-5, atol=1e-5 * float(features.std())
    )
    for stored, measured in ((background.covariance, total), (background.within, within)):
        assert stored.dtype == torch.float64
        # In every direction, the smallest included: the eigenvalues of the stored one relative to the measured one.
        factor = torch.linalg.cholesky(measured)
        half = torch.linalg.solve_triangular(factor, stored, upper=False)
        relative = torch.linalg.solve_triangular(factor, half.T, upper=False)
        ratios = torch.linalg.eigvalsh(relative)
        assert ratios.min() > 0.97
        assert ratios.max() < 1.03
        torch.testing.assert_close(
            torch.linalg.eigvalsh(stored), torch.linalg.eigvalsh(measured), rtol=5e-3, atol=0
        )


def test_directions_without_any_spread_get_the_least_one():
    features, targets = draw(500, 20, 5)
    features[:, 0] = features[:, 1:].sum(1)
    features[:, 7] = 0.25

    background = Background.of(features, targets, fingerprint="abc")

    assert background.mean[7] == 0.25
    for matrix in (background.covariance, background.within):
        torch.linalg.cholesky(matrix)
        std = matrix.diagonal().sqrt()
        least = torch.linalg.eigvalsh(matrix / (std[:, None] * std))[0]
        assert least == pytest.approx(FLOOR, rel=0.2)


def test_the_same_features_give_the_same_file_and_others_another_digest():
    features, targets = draw(200, 16, 4)

    first = Background.of(features, targets, fingerprint="abc")

    assert Background.of(features, targets + 5, fingerprint="abc").digest == first.digest
    assert Background.of(features + 1, targets, fingerprint="abc").digest != first.digest


def test_the_first_half_is_the_background_of_the_backbones_own_pooling():
    features, targets = draw(300, 16, 4)
    background = Background.of(features, targets, fingerprint="abc")

    half = background.for_width(8)

    own = Background.of(features[:, :8], targets, fingerprint="abc")
    torch.testing.assert_close(half.mean, own.mean)
    for name in ("covariance", "within"):
        torch.testing.assert_close(getattr(half, name), getattr(own, name), rtol=5e-3, atol=1e-3)
    assert half.digest == background.digest
    assert background.for_width(16) is background
    with pytest.raises(ShapeError, match="16 numbers, not 9"):
        background.for_width(9)


def test_without_classes_the_spread_within_one_is_a_share_of_all():
    features, _ = draw(400, 16, 4)

    background = Background.of(features, None, fingerprint="abc")

    assert (background.n_images, background.n_classes) == (400, 0)
    torch.testing.assert_close(
        background.within, WITHIN_SHARE * background.covariance, rtol=1e-5, atol=1e-5
    )
    with pytest.raises(TaskDataError, match=r"32 images are too few .* at least 33"):
        Background.of(features[:32], None, fingerprint="abc")


def test_too_few_images_are_refused():
    features, targets = draw(fewest_images(16, 4), 16, 4)

    Background.of(features, targets, fingerprint="abc")
    with pytest.raises(TaskDataError, match=r"35 images of 4 classes are too few .* at least 36"):
        Background.of(features[:-1], targets[:-1], fingerprint="abc")


def test_pictures_of_nothing_are_added_and_all_else_stays_bit_for_bit():
    data = measure(*draw(300, 16, 4), fingerprint="abc")
    pictures, _ = draw(5, 16, 5, seed=1)

    completed = add_nothing(data, pictures)

    before, after = (safetensors.torch.load(file) for file in (data, completed))
    assert after.keys() - before.keys() == {"nothing"}
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert torch.equal(tensor, after[name])
    assert describe(completed) == describe(data)
    background = Background.from_bytes(completed)
    assert background.nothing is not None
    assert torch.equal(background.nothing, pictures.half())
    half = background.for_width(8).nothing
    assert half is not None
    assert torch.equal(half, pictures[:, :8].half())
    # Again, with others: these take their place.
    assert add_nothing(add_nothing(data, 1 + pictures), pictures) == completed
    with pytest.raises(ShapeError, match="16 numbers, not 8"):
        add_nothing(data, pictures[:, :8])


def test_a_file_of_before_pictures_of_nothing_were_in_it_still_loads(backbone):
    loaded = load_backbone("tiny", weights=OLD.parent).background

    assert loaded is not None
    assert loaded.fingerprint == backbone.fingerprint
    assert (loaded.n_images, loaded.n_classes, loaded.nothing) == (400, 8, None)
    assert loaded.for_width(32).nothing is None
    features, targets = draw(400, 64, 8)
    for stored, measured in zip(
        (loaded.covariance, loaded.within), covariances(features, targets), strict=True
    ):
        torch.testing.assert_close(
            stored.diagonal(), measured.diagonal().double(), rtol=1e-3, atol=0
        )


def spoil_format(data: bytes) -> bytes:
    tensors = safetensors.torch.load(data)
    size = int.from_bytes(data[:8], "little")
    described = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["background"])
    return safetensors.torch.save(
        tensors, {"background": json.dumps(described | {"format_version": 2})}
    )


def with_pictures(data: bytes, pictures: torch.Tensor) -> bytes:
    tensors = safetensors.torch.load(data) | {"nothing": pictures}
    return safetensors.torch.save(tensors, {"background": json.dumps(describe(data))})


def spoil_tensor(data: bytes, name: str, value: float) -> bytes:
    tensors = safetensors.torch.load(data)
    tensors[name][0] = value
    size = int.from_bytes(data[:8], "little")
    return safetensors.torch.save(tensors, json.loads(data[8 : 8 + size])["__metadata__"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"not safetensors",
        lambda data: data[:-10],
        lambda data: safetensors.torch.save(safetensors.torch.load(data)),
        spoil_format,
        lambda data: spoil_tensor(data, "within.factor", 0.0),
        lambda data: spoil_tensor(data, "covariance.std", -1.0),
        lambda data: spoil_tensor(data, "mean", float("nan")),
        lambda data: spoil_tensor(data, "covariance.factor", float("inf")),
        lambda data: with_pictures(data, torch.zeros(3, 64)),
        lambda data: with_pictures(data, torch.zeros(3, 32).half()),
        lambda data: with_pictures(data, torch.zeros(0, 64).half()),
        lambda data: with_pictures(data, torch.full((3, 64), torch.inf).half()),
    ],
)
def test_a_damaged_file_is_refused_and_named(backbone, tmp_path: Path, spoil):
    file = tmp_path / f"tiny{SUFFIX}"
    file.write_bytes(spoil(background_of(backbone, file)))

    with pytest.raises(BackboneError, match=r"tiny\.background\.safetensors cannot be read"):
        load_backbone("tiny", weights=tmp_path)

    assert load_backbone("tiny", weights=tmp_path, with_background=False).background is None


def test_a_backbone_comes_with_the_file_beside_its_weights(backbone, tmp_path: Path):
    background_of(backbone, tmp_path / f"tiny{SUFFIX}")

    for weights in (tmp_path, tmp_path / f"{VIT}.safetensors"):
        loaded = load_backbone("tiny", weights=weights)
        assert loaded.background is not None
        assert loaded.background.n_images == 400
    assert load_backbone("tiny").background is None
    assert loaded.fingerprint == backbone.fingerprint
    assert not [key for key in loaded.state_dict() if "background" in key]


def test_of_several_files_the_fitting_one_is_taken_and_without_one_all_are_refused(
    backbone, tmp_path: Path
):
    other = replace(backbone.preprocessing, interpolation="bilinear")
    stranger = Backbone("tiny", backbone.vit, other)
    background_of(stranger, tmp_path / f"tiny.bilinear{SUFFIX}", seed=1)

    with pytest.raises(
        BackboneError, match=r"tiny\.bilinear\.background.* was made with other weights"
    ):
        load_backbone("tiny", weights=tmp_path)

    data = background_of(backbone, tmp_path / f"tiny.own{SUFFIX}")
    loaded = load_backbone("tiny", weights=tmp_path).background
    assert loaded is not None
    assert loaded.digest == Background.from_bytes(data).digest


def test_a_file_with_an_image_size_in_its_name_is_for_that_size_alone(backbone, tmp_path: Path):
    (tmp_path / f"tiny.64px{SUFFIX}").write_bytes(b"of another size, so nobody looks into it")
    assert load_backbone("tiny", weights=tmp_path).background is None

    background_of(backbone, tmp_path / f"tiny.32px{SUFFIX}")
    assert load_backbone("tiny", weights=tmp_path).background is not None


def test_a_background_is_not_taken_for_weights(tmp_path: Path):
    file = tmp_path / f"{VIT}{SUFFIX}"
    file.touch()

    assert find_weights(VIT, tmp_path) is None
    assert find_weights(VIT, file) is None
    assert not is_known_backbone("vit_tiny_patch16_224", weights=tmp_path)


def test_the_list_of_backbones_says_what_each_background_is_of(tmp_path: Path):
    features, targets = draw(200, 16, 4)
    (tmp_path / f"{VIT}{SUFFIX}").write_bytes(measure(features, targets, fingerprint="abc"))
    (tmp_path / f"{VIT}.112px{SUFFIX}").write_bytes(measure(*draw(300, 16, 4), fingerprint="abc"))
    (tmp_path / f"vit_small_patch16_224.augreg_in21k{SUFFIX}").write_bytes(b"damaged")

    found = {info.name: info.background for info in available_backbones(tmp_path)}

    assert found[BUNDLED] == BackgroundInfo(6000, 200)
    assert found[VIT] == BackgroundInfo(200, 4)
    assert found["vit_small_patch16_224.augreg_in21k"] is None
    assert found["vit_base_patch16_224.augreg_in21k"] is None


def test_the_bundled_background_is_of_the_bundled_backbone():
    backbone = load_backbone(BUNDLED)
    background = backbone.background

    assert background is not None
    assert (WEIGHTS / f"{BUNDLED}{SUFFIX}").stat().st_size < 1e6
    assert background.fingerprint == backbone.fingerprint
    assert len(background.mean) == backbone.width_of("token_and_patches")
    for matrix in (background.covariance, background.within):
        torch.linalg.cholesky(matrix)
    assert 0.5 < float(background.within.trace() / background.covariance.trace()) < 0.9
    spread = torch.linalg.eigvalsh(background.covariance)
    assert spread[-1] / spread.sum() < 0.2  # no single direction is most of it


def test_drawings_lie_within_the_bundled_background():
    """Squared distance in the background's own space, a dimension: 1 on average for the images it was made of."""
    backbone = load_backbone(BUNDLED)
    limits = ImageLimits(10**7, 10**7)
    pictures = [
        backbone.preprocess(decode_image(draw_picture(kind, i), limits, HALVED).pixels)
        for kind in ("apple", "pear")
        for i in range(3)
    ]
    features = backbone.embed(torch.stack(pictures), pooling="token_and_patches").double()

    background = backbone.background
    assert background is not None
    apart = features - background.mean
    squared = (apart @ torch.linalg.inv(background.covariance) * apart).sum(dim=1)

    assert 0.3 < float(squared.mean()) / apart.shape[1] < 4
