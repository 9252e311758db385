import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from service.intake.forms import HALVED, RESAMPLED, ImageForm
from service.intake.images import ImageLimits, decode_image
from service.problems import PROBLEMS, Problem
from tests.factories import make_image
from tests.service.bad_images import ACCEPTED, REFUSED, encoded, heic, noise

LIMITS = ImageLimits(48 * 1024 * 1024, 100_000_000)


WARNINGS = {
    "animated gif": ("first_frame_used",),
    "animated webp": ("first_frame_used",),
    "animated png": ("first_frame_used",),
    "mpo": ("first_frame_used",),
    "one colour": ("blank",),
    "16-bit grey": ("blank",),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_image_is_refused_by_its_problem(case):
    data, code = REFUSED[case]
    with pytest.raises(Problem) as caught:
        decode_image(data, LIMITS, HALVED)
    assert caught.value.code == code
    assert caught.value.status_code == PROBLEMS[code].status < 500


@pytest.mark.parametrize("case", ACCEPTED)
def test_an_odd_image_is_decoded(case):
    decoded = decode_image(ACCEPTED[case], LIMITS, HALVED)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape[2] == 3
    assert decoded.warnings == WARNINGS.get(case, ())


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "MPO"])
def test_damaged_bytes_never_raise_anything_but_a_problem(format):
    whole = bytearray(heic(noise()) if format == "HEIF" else encoded(noise(), format))
    random = np.random.default_rng(1)
    for _ in range(150):
        data = bytearray(whole)
        for at in random.integers(0, len(data), 3):
            data[at] = random.integers(0, 256)
        with contextlib.suppress(Problem):
            decode_image(bytes(data[: random.integers(1, len(data) + 1)]), LIMITS, HALVED)


def test_16_bits_are_scaled_not_clipped():
    assert decode_image(ACCEPTED["16-bit grey"], LIMITS, HALVED).pixels[0, 0].tolist() == [156] * 3


def test_transparency_lies_on_white_and_hidden_colour_stays_hidden():
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    decoded = decode_image(encoded(image, "PNG"), LIMITS, HALVED)
    assert decoded.pixels.min() == 255
    assert decoded.warnings == ("blank",)


def test_exif_orientation_turns_the_pixels():
    image = noise().crop((0, 0, 64, 32))
    exif = Image.Exif()
    exif[274] = 6
    turned = decode_image(encoded(image, "PNG", exif=exif), LIMITS, HALVED).pixels
    assert np.array_equal(turned, np.rot90(np.asarray(image), -1))
    exif[274] = 99
    assert decode_image(encoded(image, "PNG", exif=exif), LIMITS, HALVED).pixels.shape == (
        32,
        64,
        3,
    )


@pytest.mark.parametrize("form", [HALVED, ImageForm(400), RESAMPLED])
def test_the_short_side_is_brought_down_and_never_up(form):
    large = decode_image(encoded(noise(1200).crop((0, 0, 1200, 800)), "JPEG"), LIMITS, form)
    assert large.pixels.shape == {None: (384, 576, 3)}.get(form.halved_to, (400, 600, 3))
    assert decode_image(make_image(size=40), LIMITS, form).pixels.shape == (40, 40, 3)


@pytest.mark.parametrize("form", [HALVED, RESAMPLED])
@pytest.mark.parametrize("size", [40, 1000])
def test_the_stored_image_is_the_one_that_is_seen_again(form, size):
    first = decode_image(encoded(noise(size), "JPEG"), LIMITS, form)
    png = first.to_png()
    again = decode_image(png, LIMITS, form)
    assert np.array_equal(again.pixels, first.pixels)
    assert again.to_png() == png
    assert not Image.open(io.BytesIO(png)).info
