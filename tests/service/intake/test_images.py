import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from service.intake.images import ImageLimits, decode_image
from service.intake.strips import SHORT_SIDE
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
        decode_image(data, LIMITS)
    assert caught.value.code == code
    assert caught.value.status_code == PROBLEMS[code].status < 500


@pytest.mark.parametrize("case", ACCEPTED)
def test_an_odd_image_is_decoded(case):
    decoded = decode_image(ACCEPTED[case], LIMITS)
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
            decode_image(bytes(data[: random.integers(1, len(data) + 1)]), LIMITS)


def test_16_bits_are_scaled_not_clipped():
    assert decode_image(ACCEPTED["16-bit grey"], LIMITS).pixels[0, 0].tolist() == [156] * 3


def test_transparency_lies_on_white_and_hidden_colour_stays_hidden():
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    decoded = decode_image(encoded(image, "PNG"), LIMITS)
    assert decoded.pixels.min() == 255
    assert decoded.warnings == ("blank",)


def test_exif_orientation_turns_the_pixels():
    image = noise().crop((0, 0, 64, 32))
    exif = Image.Exif()
    exif[274] = 6
    turned = decode_image(encoded(image, "PNG", exif=exif), LIMITS).pixels
    assert np.array_equal(turned, np.rot90(np.asarray(image), -1))
    exif[274] = 99
    assert decode_image(encoded(image, "PNG", exif=exif), LIMITS).pixels.shape == (32, 64, 3)


def test_the_short_side_is_brought_down_and_never_up():
    large = decode_image(encoded(noise(1200).crop((0, 0, 1200, 800)), "JPEG"), LIMITS)
    assert large.pixels.shape == (SHORT_SIDE, 576, 3)
    assert decode_image(make_image(size=40), LIMITS).pixels.shape == (40, 40, 3)


def test_the_stored_image_is_the_one_that_is_seen_again():
    first = decode_image(encoded(noise(1000), "JPEG"), LIMITS)
    png = first.to_png()
    assert np.array_equal(decode_image(png, LIMITS).pixels, first.pixels)
    assert not Image.open(io.BytesIO(png)).info
