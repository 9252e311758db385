import pytest
from PIL import Image

from service.intake.forms import HALVED, HALVED_SIDE, RESAMPLED, ImageForm
from service.intake.images import ImageLimits, decode_image
from tests.service.bad_images import encoded

LIMITS = ImageLimits(48 * 1024 * 1024, 100_000_000)
SIZES = [
    (8, 8),
    (287, 400),
    (288, 288),
    (575, 900),
    (576, 576),
    (1151, 1152),
    (4607, 5000),
    (1000, 750),
    (9000, 320),
]


@pytest.mark.parametrize("size", SIZES)
def test_an_image_is_halved_as_often_as_its_short_side_allows(size):
    short = min(HALVED.final_size(size))
    assert short == min(size) < 2 * HALVED_SIDE or HALVED_SIDE <= short < 2 * HALVED_SIDE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [288, 384, 518])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_gets_the_size_of_any_other_file(size, side, mode):
    form = ImageForm(side)
    image = Image.linear_gradient("L").resize(size).convert(mode)
    for format in ("JPEG", "GIF"):
        pixels = decode_image(encoded(image, format), LIMITS, form).pixels
        assert pixels.shape[1::-1] == form.final_size(size)


def test_a_backbone_that_looks_at_more_gets_more():
    assert ImageForm.looked_at_by(64) == ImageForm(288)
    assert ImageForm.looked_at_by(249) == ImageForm(288)
    assert ImageForm.looked_at_by(518).final_size((2000, 1500)) == (1000, 750)
    assert ImageForm.looked_at_by(None).halved_to >= 384
    assert ImageForm.looked_at_by(5000).halved_to == 1024


def test_the_form_of_earlier_releases_stays():
    assert RESAMPLED.final_size((4000, 3000)) == (512, 384)
    assert RESAMPLED.factors((4000, 3000)) == (2, 2)
    assert [RESAMPLED.draft_scale((s, s)) for s in (1439, 1440, 2880, 5760)] == [1, 2, 4, 8]
