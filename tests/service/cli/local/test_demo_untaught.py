"""What the demo teaches nobody: the same pictures each time, no two alike, drawn on a terminal in their size."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from service.cli.local.demo_untaught import (
    HEIGHT,
    N_A_KIND,
    N_PHOTOS,
    SIZE,
    WIDTH,
    Untaught,
    untaught_pictures,
)
from service.cli.local.sample_pictures import FRUIT


@pytest.fixture(scope="module")
def pictures():
    return untaught_pictures()


def test_there_are_pieces_of_photographs_and_every_kind_of_fruit(pictures):
    counts = Counter(picture.label for picture in pictures)
    assert counts.pop("a photo") == N_PHOTOS
    assert sorted(label.split()[1] for label in counts) == sorted(FRUIT)
    assert set(counts.values()) == {N_A_KIND}
    assert {"an apple", "a leaf"} < set(counts)


def test_no_two_are_alike_and_they_are_the_same_each_time(pictures):
    assert len({picture.pixels.tobytes() for picture in pictures}) == len(pictures)
    for picture, same in zip(pictures, untaught_pictures(), strict=True):
        assert (picture.pixels == same.pixels).all()


def test_a_picture_is_sent_as_a_png(pictures):
    pixels = np.asarray(Image.open(io.BytesIO(pictures[0].as_png())))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert (pixels == pictures[0].pixels).all()


def test_a_picture_has_its_size_on_a_terminal(pictures):
    for drawn in (pictures[0].in_shades(), pictures[0].in_colour()):
        assert [len(line) for line in drawn.plain.splitlines()] == [WIDTH] * HEIGHT


def test_the_lightest_part_is_full_and_the_darkest_empty():
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[0] = 255
    lines = Untaught(pixels, "a line").in_shades().plain.split("\n")
    assert lines[0] == "█" * WIDTH
    assert not lines[-1].strip()


def test_half_a_character_has_the_colour_of_its_part():
    pixels = np.zeros((2 * HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[0] = (200, 100, 50)
    drawn = Untaught(pixels, "a line").in_colour()
    assert str(drawn.spans[0].style) == "rgb(200,100,50) on rgb(0,0,0)"
