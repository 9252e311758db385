from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models import views as module
from models.adapter import Adapter
from models.backbone import Backbone
from models.checkpoint import NO_CHECKPOINTS, SectionedCheckpoints, unpack
from models.errors import CheckpointError, StoppedError
from models.fitting import seeded
from models.views import AT_ONCE, Views, computes_in_bfloat16
from tests.models.interrupted import Interrupter

N = 50


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (N, 3, 32, 32), dtype=torch.uint8, generator=generator)


@pytest.fixture
def adapter() -> Adapter:
    torch.manual_seed(0)
    adapter = Adapter(width=32, depth=2, bottleneck=4)
    for block in range(2):
        torch.nn.init.normal_(adapter.at(block).up.weight)
    return adapter.freeze()


@pytest.fixture
def make(backbone: Backbone, images: Tensor, adapter: Adapter):
    def make(**changes: object) -> Views:
        asked = {
            "block": 1,
            "n_views": 3,
            "augmentation": "crop",
            "precision": "float32",
            "seed": 5,
        }
        return Views(backbone, images, adapter, **(asked | changes))

    return make


def of_all(views: Views, seed: int = 1) -> Tensor:
    with seeded(seed), torch.no_grad():
        return views.features(torch.arange(N))


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("most_bytes", [module.MOST_BYTES, 0])
def test_without_augmentation_they_are_the_images(
    make, backbone, images, adapter, block, most_bytes, monkeypatch
):
    monkeypatch.setattr(module, "MOST_BYTES", most_bytes)
    views = make(block=block, augmentation="none")
    views.keep(NO_CHECKPOINTS)

    assert views.n_views == (1 if most_bytes else 0)
    torch.testing.assert_close(of_all(views), backbone.embed(images, adapter), atol=5e-3, rtol=5e-3)


def test_they_follow_the_blocks_that_are_trained(make, backbone, images, adapter):
    views = make(augmentation="none")
    views.keep(NO_CHECKPOINTS)
    with torch.no_grad():
        adapter.at(1).up.weight.mul_(-1)

    torch.testing.assert_close(of_all(views), backbone.embed(images, adapter), atol=5e-3, rtol=5e-3)


def test_shows_each_of_them_and_no_others(make):
    views = make(n_views=2)
    views.keep(NO_CHECKPOINTS)

    shown = torch.stack([of_all(views, seed) for seed in range(12)], dim=1)

    differ = [
        len({tuple(row.tolist()) for row in of_image.round(decimals=4)}) for of_image in shown
    ]
    assert differ == [2] * N


@pytest.mark.parametrize("most_bytes", [module.MOST_BYTES, 0])
def test_shows_a_share_of_the_patches(make, backbone, images, adapter, most_bytes, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", most_bytes)
    views = make(augmentation="none", patch_share=0.5)
    views.keep(NO_CHECKPOINTS)
    seen = []
    forward = adapter.at(1).forward
    monkeypatch.setattr(adapter.at(1), "forward", lambda x: seen.append(x) or forward(x))

    of_all(views, 1)
    of_all(views, 2)

    inputs, again = seen
    assert inputs.shape == (N, 1 + 8, 32)
    expected = backbone.begin(images, adapter, 1).inputs
    torch.testing.assert_close(inputs[:, 0], expected[:, 0], atol=5e-3, rtol=5e-3)
    nearest = torch.cdist(inputs[:, 1:], expected[:, 1:]).min(dim=2)
    assert nearest.values.max() < 0.05  # each is one of the image's patches,
    assert all(len(set(row.tolist())) == 8 for row in nearest.indices)  # no two of them the same,
    assert (
        len({tuple(sorted(row.tolist())) for row in nearest.indices}) > N / 2
    )  # and others each time
    assert not torch.equal(again, inputs)


def test_the_seed_decides_them(make):
    first, again, other = make(), make(), make(seed=6)
    for views in (first, again, other):
        views.keep(NO_CHECKPOINTS)

    assert torch.equal(of_all(first), of_all(again))
    assert not torch.allclose(of_all(first), of_all(other))


@pytest.mark.parametrize("n_views", [1, 2])
def test_keeps_as_many_as_the_memory_holds(make, monkeypatch, n_views):
    bytes_a_view = 2 * 17 * 32 * 2
    monkeypatch.setattr(module, "MOST_BYTES", n_views * N * bytes_a_view)

    assert make().n_views == n_views


def test_without_memory_for_one_they_are_drawn_anew_each_time(make, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    views = make()
    views.keep(NO_CHECKPOINTS)

    assert torch.equal(of_all(views, 1), of_all(views, 1))
    assert not torch.allclose(of_all(views, 1), of_all(views, 2))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_stops_while_they_are_computed_and_goes_on(make, at):
    keeper = Interrupter(at)
    with pytest.raises(StoppedError):
        make().keep(SectionedCheckpoints(keeper, {}))
    assert len(keeper.kept) < 1000  # not the views themselves
    rest = Interrupter()
    views, undisturbed = make(), make()

    views.keep(SectionedCheckpoints(rest, {}, unpack(keeper.kept, {})))
    undisturbed.keep(NO_CHECKPOINTS)

    assert torch.equal(of_all(views), of_all(undisturbed))
    assert rest.n_steps == -(-3 * N // AT_ONCE) - at


def test_does_not_go_on_with_other_views(make):
    keeper = Interrupter(1)
    with pytest.raises(StoppedError):
        make().keep(SectionedCheckpoints(keeper, {}))
    (section,) = unpack(keeper.kept, {})

    with pytest.raises(CheckpointError, match="another training"):
        make(seed=6).keep(SectionedCheckpoints(Interrupter(), {}, [section]))
    harmed = SectionedCheckpoints(Interrupter(), {}, [replace(section, counters={})])
    with pytest.raises(CheckpointError, match="does not fit"):
        make().keep(harmed)


def test_reduced_ones_are_nearly_the_same(make):
    exact, reduced = make(), make(precision="bfloat16")
    for views in (exact, reduced):
        views.keep(NO_CHECKPOINTS)

    difference = of_all(exact) - of_all(reduced)
    assert 0 < difference.abs().max() < 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("flags\t\t: fpu avx2\nbugs\t: avx512_bf16\n", False),
        ("", False),
    ],
)
def test_the_processor_says_whether_it_computes_in_bfloat16(tmp_path, monkeypatch, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(module, "_CPU_FLAGS", tmp_path / "cpuinfo")

    assert computes_in_bfloat16() is expected


def test_where_no_processor_says_it_none_does(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CPU_FLAGS", tmp_path / "nothing")

    assert not computes_in_bfloat16()
