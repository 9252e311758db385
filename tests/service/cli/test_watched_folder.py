"""Which files of a watched folder are new and whole."""

import os

import pytest

from service.cli.watched_folder import Done, Found, WatchedFolder, move_to
from tests.factories import make_image


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watched(tmp_path, clock):
    """A watched folder whose files settle in 2 seconds."""
    (tmp_path / "in").mkdir()
    return make(tmp_path, clock)


def make(tmp_path, clock, **options):
    done = Done(tmp_path / "state", tmp_path / "in")
    watched = WatchedFolder(tmp_path / "in", done, settle_s=2.0, clock=clock, **options)
    return watched, done, tmp_path / "in"


def names(found):
    return [one.path.name for one in found]


def test_a_file_is_taken_once_it_has_not_changed_for_a_while(watched, clock):
    folder, _, place = watched
    picture = make_image()
    (place / "a.png").write_bytes(picture[:50])
    assert folder.look() == ([], 1)
    clock.now = 1.9
    assert folder.look() == ([], 1)
    (place / "a.png").write_bytes(picture)
    for clock.now in (2.5, 4.4):
        assert folder.look() == ([], 1)
    clock.now = 4.6
    ready, n_waiting = folder.look()
    assert (names(ready), n_waiting) == (["a.png"], 0)
    assert folder.changed_at == 2.5


def test_an_old_time_does_not_make_a_file_whole(watched, clock):
    """`cp -p` and cameras give a file its old time while it is still being written."""
    folder, _, place = watched
    (place / "a.png").write_bytes(make_image())
    os.utime(place / "a.png", (1, 1))
    assert folder.look() == ([], 1)


def test_an_empty_file_is_not_there_yet(watched, clock):
    folder, _, place = watched
    (place / "a.png").touch()
    for clock.now in (0, 10, 100):
        assert folder.look() == ([], 1)


def test_what_is_done_is_not_found_again_unless_it_changes(watched, clock, tmp_path):
    folder, done, place = watched
    (place / "a.png").write_bytes(make_image())
    folder.look()
    clock.now = 2
    ready, _ = folder.look()
    done.add(ready)
    assert folder.look() == ([], 0)
    again, _, _ = make(tmp_path, clock)
    assert again.look() == ([], 0)
    (place / "a.png").write_bytes(make_image("egret"))
    os.utime(place / "a.png", ns=(1, 1))
    assert again.look() == ([], 1)


def test_a_line_that_a_kill_cut_off_does_no_harm(tmp_path, clock):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "state").write_text('["a.png", 1, 2]\n["b.png", 1')
    done = Done(tmp_path / "state", folder)
    assert done.has(Found(folder / "a.png", (1, 2)))
    assert not done.has(Found(folder / "b.png", (1, 2)))
    done.add([Found(folder / "c.png", (3, 4))])
    assert Done(tmp_path / "state", folder).has(Found(folder / "c.png", (3, 4)))


def test_what_is_no_image_is_passed_over(watched, clock):
    folder, _, place = watched
    (place / "notes.txt").write_text("no image")
    (place / ".hidden.png").write_bytes(make_image())
    (place / "Thumbs.db").write_bytes(b"x")
    folder.look()
    clock.now = 2
    assert folder.look() == ([], 0)
    assert folder.look() == ([], 0)


def test_where_images_are_moved_to_is_left_out(tmp_path, clock):
    (tmp_path / "in" / "sorted").mkdir(parents=True)
    folder, _, place = make(tmp_path, clock, leave_out=tmp_path / "in" / "sorted")
    (place / "sorted" / "a.png").write_bytes(make_image())
    clock.now = 5
    assert folder.look() == ([], 0)


def test_a_name_that_is_there_already_is_kept(tmp_path):
    for text in ("first", "second", "third"):
        (tmp_path / "a.png").write_text(text)
        move_to(tmp_path / "a.png", "her/on", tmp_path / "out")
    found = {file.name: file.read_text() for file in (tmp_path / "out" / "her-on").iterdir()}
    assert found == {"a.png": "first", "a-2.png": "second", "a-3.png": "third"}
