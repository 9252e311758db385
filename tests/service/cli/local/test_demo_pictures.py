"""The demo's pictures: the same each time, no two alike, told apart from their photograph, drawn in their size."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from service.cli.local.demo_digits import digit_tasks
from service.cli.local.demo_pictures import (
    CONTRAST,
    HEIGHT,
    N_A_FRUIT,
    N_PIECES,
    SIZE,
    WIDTH,
    Picture,
    taught_pictures,
    untaught_pictures,
)
from service.cli.local.sample_pictures import FRUIT


@pytest.fixture(scope="module")
def untaught():
    return untaught_pictures()


@pytest.fixture(scope="module")
def taught():
    return taught_pictures()


def test_every_digit_is_painted_once_and_held_out_as_it_was(taught):
    for pictures, digits in zip(taught, digit_tasks(), strict=True):
        assert [(p.label, p.is_held_out) for p in pictures] == [
            (d.label, d.is_held_out) for d in digits
        ]


def test_there_are_pieces_of_photographs_and_every_kind_of_fruit(untaught):
    counts = Counter(picture.label for picture in untaught)
    assert counts.pop("a photo") == N_PIECES
    assert sorted(label.split()[1] for label in counts) == sorted(FRUIT)
    assert set(counts.values()) == {N_A_FRUIT}
    assert {"an apple", "a leaf"} < set(counts)


def test_no_two_are_alike_and_they_are_the_same_each_time(taught, untaught):
    pictures = [picture for task in taught for picture in task] + untaught
    again = [picture for task in taught_pictures() for picture in task] + untaught_pictures()
    assert len({picture.pixels.tobytes() for picture in pictures}) == len(pictures)
    for picture, same in zip(pictures, again, strict=True):
        assert (picture.pixels == same.pixels).all()


def test_paint_is_told_apart_from_its_photograph(taught):
    """A zero has a hole: between paint and what is around it there is a step of lightness."""
    for picture in [picture for picture in taught[0] if picture.label == "0"][:40]:
        grey = np.asarray(Image.fromarray(picture.pixels).convert("L"), dtype=float)
        assert np.ptp(grey) > 0.8 * CONTRAST


def test_a_picture_is_sent_as_a_jpeg_with_its_label_and_split(taught):
    held_out = next(picture for picture in taught[1] if picture.is_held_out)
    sent = held_out.as_image()
    image = Image.open(io.BytesIO(sent.data))
    assert (image.format, image.size, image.mode) == ("JPEG", (SIZE, SIZE), "RGB")
    assert (sent.label, sent.split) == (held_out.label, "eval")
    assert np.abs(np.asarray(image, dtype=float) - held_out.pixels).mean() < 8


def test_a_picture_has_its_size_on_a_terminal(untaught):
    for drawn in (untaught[0].in_shades(), untaught[0].in_colour()):
        assert [len(line) for line in drawn.plain.splitlines()] == [WIDTH] * HEIGHT


@pytest.mark.parametrize("colours", [None, "truecolor"])
def test_it_has_colours_where_the_terminal_has(untaught, colours):
    console = Console(file=io.StringIO(), color_system=colours, force_terminal=colours is not None)
    assert ("▀" in untaught[0].drawn(console).plain) == (colours is not None)


def test_the_lightest_part_is_full_and_the_darkest_empty():
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[0] = 255
    lines = Picture(pixels, "a line").in_shades().plain.split("\n")
    assert lines[0] == "█" * WIDTH
    assert not lines[-1].strip()


def test_half_a_character_has_the_colour_of_its_part():
    pixels = np.zeros((2 * HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[0] = (200, 100, 50)
    drawn = Picture(pixels, "a line").in_colour()
    assert str(drawn.spans[0].style) == "rgb(200,100,50) on rgb(0,0,0)"
