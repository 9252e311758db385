import io
import warnings

import numpy as np
from PIL import Image

from service.cli.local.demo_digits import digit_tasks


def test_all_images_come_in_five_tasks_of_two_digits():
    tasks = digit_tasks()
    assert [sorted({digit.label for digit in digits}) for digits in tasks] == [
        ["0", "1"],
        ["2", "3"],
        ["4", "5"],
        ["6", "7"],
        ["8", "9"],
    ]
    assert sum(len(digits) for digits in tasks) == 1797


def test_a_quarter_of_each_class_is_held_out_the_same_each_time():
    first, again = digit_tasks(), digit_tasks()
    for digits, same in zip(first, again, strict=True):
        for label in {digit.label for digit in digits}:
            held_out = [digit.is_held_out for digit in digits if digit.label == label]
            assert abs(sum(held_out) / len(held_out) - 0.25) < 0.01
        assert all((a.pixels == b.pixels).all() for a, b in zip(digits, same, strict=True))
        assert [d.is_held_out for d in digits] == [d.is_held_out for d in same]


def test_a_digit_is_sent_as_a_png_of_its_own_size():
    digit = digit_tasks()[0][0]
    with warnings.catch_warnings():
        image = Image.open(io.BytesIO(digit.as_image().data))
    assert (image.size, image.mode) == ((8, 8), "L")
    assert np.asarray(image).max() == min(255, 16 * int(digit.pixels.max()))
