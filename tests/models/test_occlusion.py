"""Which places of an image speak for its answer."""

import torch

from models.occlusion import CELLS, COVERED, covered, places, speaks_for


def test_each_cell_is_covered_equally_often():
    times = torch.zeros(CELLS, CELLS)
    for place in places():
        times[place.cells()] += 1
    assert (times == COVERED**2).all()


def test_only_the_covered_place_changes():
    image = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0))
    image = image.to(torch.uint8)
    images = covered(image)
    assert images.shape == (1 + len(places()), 3, 32, 32)
    assert images.dtype == torch.uint8
    assert torch.equal(images[0], image)
    for place, each in zip(places(), images[1:], strict=True):
        rows, columns = place.cells()
        changed = (each != image).any(dim=0)
        outside = changed.clone()
        outside[rows.start * 4 : rows.stop * 4, columns.start * 4 : columns.stop * 4] = False
        assert changed.any()
        assert not outside.any()


def test_what_an_answer_hangs_on_stands_out():
    """An answer that reads the brightness of one corner alone."""
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, :8, :8] = 255
    images = covered(image).float() / 255
    bright = images[:, :, :8, :8].mean(dim=(1, 2, 3)).clamp(0.01, 0.99)
    heat = speaks_for(torch.stack([bright, 1 - bright], dim=1), 0)
    assert heat.shape == (CELLS, CELLS)
    assert heat.argmax() == 0
    assert heat[0, 0] > 1
    assert heat[4:, 4:].abs().max() < 1e-5
    against = speaks_for(torch.stack([bright, 1 - bright], dim=1), 1)
    torch.testing.assert_close(against, -heat, atol=1e-4, rtol=1e-4)
