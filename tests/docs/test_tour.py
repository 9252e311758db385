"""The tour in pictures: its list of stops, its page and its pictures agree. `make tour` makes them anew."""

from PIL import Image

from tests.tour import DOCUMENT, HEIGHTS, MOST_BYTES, PICTURES, ROOT, STOPS, WIDE, document

ADVICE = "run `make tour`"


def test_the_page_is_that_of_the_stops():
    assert DOCUMENT.read_text("utf-8") == document(), ADVICE


def test_every_stop_has_its_picture_and_no_other_is_there():
    assert sorted(path.name for path in PICTURES.iterdir()) == sorted(
        stop.file for stop in STOPS
    ), ADVICE


def test_pictures_are_as_large_as_the_window_and_small_together():
    for stop in STOPS:
        with Image.open(PICTURES / stop.file) as picture:
            assert (picture.format, picture.size) == ("WEBP", (stop.width, HEIGHTS[stop.width]))
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) <= MOST_BYTES


def test_no_two_stops_are_called_the_same_and_some_are_narrow_and_dark():
    assert len({stop.name for stop in STOPS}) == len(STOPS) == len({stop.title for stop in STOPS})
    assert any(stop.width < WIDE for stop in STOPS)
    assert any(stop.dark for stop in STOPS)


def test_the_readme_leads_to_it():
    assert "](docs/tour.md)" in (ROOT / "README.md").read_text("utf-8")
