import pytest
import torch
from torch import Tensor

from models import halfway as module
from models.adapter import Adapter
from models.backbone import Backbone
from models.halfway import Halfway

N = 70


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (N, 3, 32, 32), dtype=torch.uint8, generator=generator)


def drawn(seed: int, *, first: int = 0) -> Adapter:
    torch.manual_seed(seed)
    adapter = Adapter(width=32, depth=2, bottleneck=4, first=first)
    for block in range(first, 2):
        torch.nn.init.normal_(adapter.at(block).up.weight)
    return adapter


@pytest.mark.parametrize("most_bytes", [module.MOST_BYTES, 0])
@pytest.mark.parametrize("pooling", ["backbone", "token_and_patches"])
@pytest.mark.parametrize("before", [None, drawn(1)])
def test_embeds_as_a_whole_pass_does(
    backbone: Backbone, images, pooling, before, most_bytes, monkeypatch
):
    monkeypatch.setattr(module, "MOST_BYTES", most_bytes)
    above, elsewhere = drawn(2, first=1), drawn(3)
    after = above if before is None else before.clone()
    if before is not None:
        after.blocks["1"].load_state_dict(above.at(1).state_dict())
    kept = Halfway(backbone, images, before, block=1, pooling=pooling)

    for adapter in (after, before, elsewhere, None, after):
        assert torch.equal(kept.embed(adapter), backbone.embed(images, adapter, pooling=pooling))


def test_what_lies_below_is_passed_once(backbone, images, monkeypatch):
    kept = Halfway(backbone, images, None, block=1)
    first = kept.embed(None)
    monkeypatch.delattr(Backbone, "begin")

    assert torch.equal(kept.embed(None), first)
    assert not torch.allclose(kept.embed(drawn(2, first=1)), first)
    with pytest.raises(AttributeError):
        kept.embed(drawn(3))  # differs below


def test_embeds_no_images(backbone, images):
    kept = Halfway(backbone, images[:0], None, block=1, pooling="token_and_patches")

    assert kept.embed(None).shape == (0, 64)
