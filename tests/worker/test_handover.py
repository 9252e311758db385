"""What worker and learn process say to each other."""

import socket

import pytest

from worker.handover import Line


@pytest.fixture
def ends():
    pair = socket.socketpair()
    lines = [Line(end) for end in pair]
    yield lines
    for line in lines:
        line.close()


def test_a_line_is_heard_whole_and_in_order(ends):
    here, there = ends
    here.say("tsk_1", 3)
    here.say("tsk_2", 1)
    assert there.is_spoken_to()
    assert there.hear(0) == ["tsk_1", "3"]
    assert there.is_spoken_to()
    assert there.hear_for_ever() == ["tsk_2", "1"]
    assert not there.is_spoken_to()
    assert there.hear(0) is None


def test_half_a_line_is_none_yet():
    raw, end = socket.socketpair()
    line = Line(end)
    with raw, end:
        raw.sendall(b"ended")
        assert line.hear(0) is None
        raw.sendall(b" 0\nready\n")
        assert line.hear(0) == ["ended", "0"]
        assert line.hear(0) == ["ready"]


def test_a_closed_end_is_noticed_by_the_other(ends):
    here, there = ends
    there.say("taken")
    there.close()
    assert here.hear(0) == ["taken"]
    for hear in (here.hear_for_ever, lambda: here.hear(0)):
        with pytest.raises(EOFError):
            hear()
    with pytest.raises(BrokenPipeError):
        here.say("tsk_1", 3)


def test_so_is_one_that_is_closed_before_it_has_read(ends):
    here, there = ends
    here.say("tsk_1", 3)
    there.close()
    with pytest.raises(EOFError):
        here.hear(0)
