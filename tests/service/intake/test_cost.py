"""What decoding costs, told by the header alone."""

import time

import pytest

from service.intake.cost import LIGHT_WORK
from service.problems import Problem
from service.settings import ServiceSettings
from tests.attacks.pictures import large, photo
from tests.service.bad_images import make_image
from tests.service.intake.weighing import work


def test_photos_of_phones_are_light_and_any_number_of_a_request_is_affordable():
    phone = photo(4000, 3000)
    assert work(make_image()) < work(phone) < LIGHT_WORK
    assert 64 * work(phone) < ServiceSettings().max_predict_pixels


@pytest.mark.parametrize(
    ("format", "mode", "low", "high"),
    [
        ("PNG", "RGB", 1.0, 1.1),
        ("PNG", "RGBA", 2.0, 2.1),
        ("PNG", "1", 0.4, 0.7),
        ("WEBP", "RGB", 1.0, 1.2),
        ("GIF", "P", 0.2, 0.6),
        ("BMP", "RGB", 0.4, 1.0),
    ],
)
def test_pixels_count_by_format(format, mode, low, high):
    pixels = 2000 * 2000
    assert low * pixels <= work(large(format, 2000, mode)) <= high * pixels + 100_000


def test_what_is_refused_by_its_header_is_refused_here_too():
    for data, code in (
        (b"", "image-empty"),
        (b"%PDF-1.7 and more", "image-format-unsupported"),
        (large("PNG", 10_100, "1"), "image-too-many-pixels"),
    ):
        with pytest.raises(Problem) as caught:
            work(data)
        assert caught.value.code == code


def test_nothing_is_decoded_to_know_it():
    data = large("WEBP", 5000)
    work(data)
    started = time.thread_time()
    work(data)
    assert time.thread_time() - started < 0.05
